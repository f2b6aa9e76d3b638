# pyright: reportUnknownMemberType=false
"""Host memory that models need, against amounts of RAM that people have."""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots.style import BLUE, COLUMN_IN, GREY, ORANGE, model_title, new_figure, styled
from analysis.plots.ticks import ticks_at
from analysis.table import GIB, Record, Table, has, of_question, records, texts, unique, where

RAM_GIB = (64, 128, 256, 512)
"""What desktops and workstations hold."""
SYSTEM_GIB = 4.0
"""Left to the operating system and everything else; assumed."""

EXACT, ROUNDED = "fp16", "fp16, pinned by PyTorch"
_BILLION = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One way to keep one model: what it takes, and how fast it is."""

    model: str
    label: str
    elements: float
    host_bytes: float
    fits_device: bool
    fits_drive: bool
    step_s: float
    tokens_per_s: float

    def fits(self, ram_gib: float) -> bool:
        """Card, drive and that much RAM hold it, with `SYSTEM_GIB` to spare."""
        return self.fits_device and self.fits_drive and self.total_gib <= ram_gib

    @property
    def total_gib(self) -> float:
        """Host memory with what the system takes."""
        return self.host_bytes / GIB + SYSTEM_GIB


def answers_ram(table: Table) -> bool:
    """Whether every model was asked about in both ways of page-locking, on one machine."""
    if not has(table, "with_24gb"):
        return False
    rows = of_question(table, "with_24gb")
    models = [texts(where(rows, "label", way), "model") for way in (EXACT, ROUNDED)]
    return len(unique(rows, "machine")) == 1 and models == [unique(rows, "model")] * 2


def needs(table: Table) -> tuple[Need, ...]:
    """Every model of question ``with_24gb``, every way, smallest model first.

    The question gives the host all the memory it needs: what does not fit is card or drive.
    """
    rows = records(of_question(table, "with_24gb"))
    return tuple(sorted(map(_need, rows), key=lambda need: need.elements))


def _need(record: Record) -> Need:
    def value(column: str) -> float:
        return float(str(record[column]))

    return Need(
        model=str(record["model"]),
        label=str(record["label"]),
        elements=value("model_elements"),
        host_bytes=value("host_bytes"),
        fits_device=bool(record["fits_device"]),
        fits_drive=bool(record["fits"]) or not bool(record["fits_device"]),
        step_s=value("step_s"),
        tokens_per_s=value("tokens_per_s"),
    )


@styled
def ram_needed(table: Table) -> Figure:
    """Models of at least a billion parameters: exact size, and as PyTorch pins it.

    Hollow: the card is too small. Vertical lines: amounts of RAM.
    """
    found = [n for n in needs(table) if n.elements >= _BILLION]
    models = list(dict.fromkeys(need.model for need in found))
    figure = new_figure(COLUMN_IN, 0.9 + 0.125 * len(models))
    axes = figure.add_subplot()
    for place, model in enumerate(models):
        own = {need.label: need for need in found if need.model == model}
        _row(axes, place, own[EXACT], own[ROUNDED])
    axes.set_yticks(range(len(models)), [model_title(model) for model in models], fontsize=6)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    _ram_axis(axes)
    hollow = not all(need.fits_device for need in found if need.label in (EXACT, ROUNDED))
    figure.legend(handles=[*_legend(hollow=hollow)], loc="outside upper center", ncols=3)
    return figure


def _row(axes: Axes, place: int, exact: Need, rounded: Need) -> None:
    ends = [exact.total_gib, rounded.total_gib]
    axes.plot(ends, [place, place], color=ORANGE, lw=1.0, zorder=1)
    for need, colour, marker in ((rounded, ORANGE, "|"), (exact, BLUE, "o")):
        face = colour if need.fits_device else "white"
        axes.plot([need.total_gib], [place], ls="none", marker=marker, mfc=face, mec=colour, ms=3.5)


def _ram_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    for gib in RAM_GIB:
        axes.axvline(gib, color=GREY, lw=0.7, ls=(0, (4, 2)), zorder=0)
    ticks = [8, 16, 32, *RAM_GIB, 1024]
    ticks_at(axes.xaxis, ticks, map(str, ticks))
    axes.set_xlabel("host memory, system included (GiB)")


def _legend(*, hollow: bool) -> Iterator[Line2D]:
    yield Line2D([], [], ls="none", marker="o", color=BLUE, ms=3.5, label="exact size")
    yield Line2D([], [], color=ORANGE, marker="|", label="pinned by PyTorch")
    if hollow:
        yield Line2D(
            [], [], ls="none", marker="o", mfc="white", mec=BLUE, ms=3.5, label="card too small"
        )
