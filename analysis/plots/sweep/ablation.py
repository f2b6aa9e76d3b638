# pyright: reportUnknownMemberType=false
"""What each feature of ZO2 is worth: the step time without it, relative to all of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import BLACK, COLUMN_IN, SHADES, model_title, new_figure, styled
from analysis.table import Table, error_bars, of_question, records, where

_SHADES = SHADES[::-1]
_HATCHES = (None, "////", "xxxx")
_X_LABEL = "step time relative to full ZO2"
_WHISKERS = "\n(whiskers: 90 % band of the step without the feature)"
_SWITCHES = ("overlap", "reuse_slots", "deferred_update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowdown:
    """Step time of one variant over that of the baseline; ``low`` and ``high`` may be NaN."""

    label: str
    model: str
    value: float
    low: float
    high: float

    @property
    def has_band(self) -> bool:
        """Some spread of the variant's own step is known; that of the baseline is not in it."""
        return self.high > self.low


@styled
def ablation(table: Table) -> Figure:
    """Slowdown of each variant of question ``ablation``, one group per variant, one bar per model.

    The first label of policy ``zo2`` with every feature on counts as 1. Raises ``ValueError`` when
    there is none.
    """
    slow = slowdowns(table)
    variants = list(dict.fromkeys(s.label for s in slow))
    models = list(dict.fromkeys(s.model for s in slow))
    figure = new_figure(COLUMN_IN, 0.8 + 0.15 * len(variants) * (len(models) + 0.6))
    axes = figure.add_subplot()
    for number, model in enumerate(models):
        mine = {variants.index(s.label): s for s in slow if s.model == model}
        _bars(axes, mine, number, len(models))
    axes.axvline(1.0, color=BLACK, lw=0.7)
    axes.set_yticks(range(len(variants)), variants)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel(_X_LABEL + (_WHISKERS if any(s.has_band for s in slow) else ""))
    axes.grid(visible=True, axis="x")
    axes.margins(x=0.12)
    if len(models) > 1:
        figure.legend(loc="outside upper center", ncols=min(len(models), 4), handlelength=1.0)
    return figure


def slowdowns(table: Table) -> tuple[Slowdown, ...]:
    """Every variant but the baseline, for each model that has both."""
    rows = of_question(table, "ablation")
    return tuple(_slowdowns(rows, _full(rows)))


def _slowdowns(rows: Table, full: str) -> Iterator[Slowdown]:
    base = {str(r["model"]): _float(r, "step_s") for r in records(where(rows, "label", full))}
    for record in records(rows):
        label, model = str(record["label"]), str(record["model"])
        if label != full and model in base:
            yield Slowdown(
                label=label,
                model=model,
                value=_float(record, "step_s") / base[model],
                low=_float(record, "step_s_low") / base[model],
                high=_float(record, "step_s_high") / base[model],
            )


def _float(record: dict[str, object], column: str) -> float:
    return float(str(record.get(column, "nan")))


def _full(rows: Table) -> str:
    for record in records(rows):
        if record["policy"] == "zo2" and all(record[switch] for switch in _SWITCHES):
            return str(record["label"])
    raise ValueError(
        "the ablation must have a row of policy zo2 with overlap, reuse_slots and "
        "deferred_update on"
    )


def _bars(axes: Axes, slow: dict[int, Slowdown], number: int, count: int) -> None:
    """One model's bars: ``slow`` by the position of the variant."""
    height = 0.8 / count
    places = np.array(list(slow)) + (number - (count - 1) / 2) * height
    value, low, high = np.array([(s.value, s.low, s.high) for s in slow.values()]).T
    axes.barh(
        places,
        value,
        height=0.9 * height,
        color=_SHADES[number % len(_SHADES)],
        hatch=_HATCHES[number // len(_SHADES) % len(_HATCHES)],
        label=model_title(next(iter(slow.values())).model),
    )
    if (ends := error_bars(value, low, high)).any():
        axes.errorbar(value, places, xerr=ends, fmt="none", ecolor=BLACK, elinewidth=0.7)
    for at, place, v in zip(value + ends[1], places, value, strict=True):  # beyond the whisker
        axes.annotate(
            f"{v:.2f}",
            (at, place),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
