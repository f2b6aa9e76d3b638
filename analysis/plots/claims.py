# pyright: reportUnknownMemberType=false
"""Published claims: prediction over publication, one line per value."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.claims.row import Row
from analysis.plots.style import BLACK, BLUE, FULL_IN, GREY, SKY, VERMILLION, new_figure, styled
from analysis.plots.ticks import plain, ticks_at

_TICKS = (0.5, 0.6, 0.8, 1.0, 1.25, 1.6)
_LINE_IN = 0.155
_CLAIMS = {
    "zo2-nvml-memory": "ZO2, NVML",
    "zo2-allocated-memory-fp16": "ZO2, allocated",
    "mezo-memory-fp16": "MeZO, NVML",
    "adamw-memory": "AdamW, NVML",
    "zo2-175b-18gb": "ZO2, 175B",
    "zo2-no-overhead": "ZO2 / MeZO",
    "zero-offload": "ZeRO-Offload",
    "fuyou": "Fuyou",
    "galore-7b-24gb": "GaLore",
    "gpt2-block": "a block",
    "megatron-1.2b": "Megatron-LM",
    "nvbandwidth-all-a100": "8 A100",
    "zero-infinity-dgx2-links": "DGX-2",
    "distzo2-175b": "DistZO2, 175B",
    "roundpipe-8x4090": "RoundPipe, 8 cards",
}
_TITLES = {
    "tflops_10b": "rate at 10B",
    "tflops_pytorch_1.4b": "rate of PyTorch at 1.4B",
    "tflops_13b": "rate at 13B",
    "zero_infinity_tflops_13b": "rate of ZeRO-Infinity at 13B",
    "device_gb": "device memory",
    "host_gb": "host memory",
    "saved_percent": "memory left",
    "saved_8bit_percent": "memory left, 8 bits",
    "step_s": "step of 1.2B",
    "h2d_gb_per_s": "uploads, all both ways",
    "all_gb_per_s": "uploads of 16 V100",
    "one_gb_per_s": "uploads of one V100",
    "speedup": "speed-up",
    "v100 forward": "V100, forward",
    "v100 with backward": "V100, with backward",
    "rtx-4090 forward": "RTX 4090, forward",
    "rtx-4090 with backward": "RTX 4090, with backward",
}


@styled
def claims(rows: Sequence[Row]) -> Figure:
    """A mark per value on a logarithmic axis of ratios; bars span the plausible setups.

    Filled marks agree. Open ones do not, and the table says why. Rows that only say whether
    something fits have no mark; of others there must be one.
    """
    rows = [row for row in rows if row.relative_error is not None]
    if not rows:
        raise ValueError("a figure of claims needs at least one row; got none")
    figure = new_figure(FULL_IN, 0.9 + _LINE_IN * len(rows))
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        _mark(axes, place, row)
    axes.axvline(1.0, color=GREY, lw=0.8, zorder=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [_label(rows, place) for place in range(len(rows))])
    for place in range(1, len(rows)):
        if rows[place].claim != rows[place - 1].claim:
            axes.axhline(place - 0.5, color=GREY, lw=0.3)
    _ratio_axis(axes)
    figure.legend(handles=_legend(), loc="outside upper center", ncols=4)
    return figure


def _mark(axes: Axes, place: int, row: Row) -> None:
    colour = BLUE if row.agrees else VERMILLION
    if row.low is not None and row.high is not None:
        assert row.kind != "share", "a range of shares would be drawn by what is left"
        ends = [row.low / row.published, row.high / row.published]
        axes.plot(ends, [place, place], color=colour, lw=2.4, alpha=0.35, solid_capstyle="butt")
    face = (SKY if row.context == "fitted" else colour) if row.agrees else "white"
    axes.plot([row.ratio], [place], "o", color=colour, mfc=face, ms=4, clip_on=False)


def _label(rows: Sequence[Row], place: int) -> str:
    """The value, after its claim where a new one starts."""
    row = rows[place]
    item = _TITLES.get(row.item, row.item.replace("opt-", "OPT-").replace("b", "B"))
    starts = place == 0 or rows[place - 1].claim != row.claim
    return f"{_CLAIMS.get(row.claim, row.claim)}:  {item}" if starts else item


def _ratio_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    ticks_at(axes.xaxis, _TICKS, map(plain, _TICKS))
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("prediction, as a multiple of the publication")


def _legend() -> list[Line2D]:
    return [
        _dot(BLUE, BLUE, "agrees"),
        _dot(BLUE, SKY, "agrees, helped to fit"),
        _dot(VERMILLION, "white", "disagrees"),
        Line2D([], [], color=BLACK, lw=2.4, alpha=0.35, label="plausible setups"),
    ]


def _dot(colour: str, face: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, mfc=face, ls="", marker="o", ms=4, label=label)
