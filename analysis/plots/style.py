# pyright: reportUnknownMemberType=false
"""One look for every figure: sizes, fonts, colours, and how a figure becomes bytes.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which stay distinct for
colour-blind readers. Figures are made without pyplot, so nothing is shown, kept or warned about.
Text becomes outlines of a font that ships with matplotlib: it looks the same everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from io import StringIO
from typing import ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.plots.values import with_values

COLUMN_IN = 3.3
"""Width of one column of the report, inches."""
FULL_IN = 6.9
"""Width of the report's text, inches."""

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#7F7F7F"

SHADES = ("#003F66", "#0072B2", "#5FA3CC", "#BFD9EA")
"""Shades of ZO2's blue, where every series is ZO2."""

RC: dict[str, object] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "grid.linewidth": 0.4,
    "grid.color": "#D9D9D9",
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "hatch.linewidth": 0.5,
    "figure.dpi": 100,
    "svg.fonttype": "path",
    "svg.hashsalt": "zo2sim",
    "path.simplify": False,
}
"""matplotlib settings under which figures are made and saved."""

P = ParamSpec("P")


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a plot function under `RC`, and leave matplotlib's settings as they were.

    The layout is settled once, here: otherwise every save would move it by a hair.
    """

    @wraps(plot)
    def under_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(RC):  # pyright: ignore[reportArgumentType]
            figure = plot(*args, **kwargs)
            if (layout := figure.get_layout_engine()) is not None:
                layout.execute(figure)
            figure.set_layout_engine("none")
        return figure

    return under_style


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure whose axes make room for their labels."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def svg_text(figure: Figure) -> str:
    """The figure as SVG, with what its marks stand for (`analysis.plots.values`).

    The same figure gives the same text, and no date is written.
    """
    out = StringIO()
    with mpl.rc_context(RC):  # pyright: ignore[reportArgumentType]
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, dpi=200)
    return with_values(out.getvalue(), figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """How one series is drawn and called, in every figure."""

    title: str
    colour: str
    marker: str
    line: str = "-"


_SERIES = {
    "MeZO": Series(title="MeZO (resident)", colour=BLACK, marker="o"),
    "MeZO M=8": Series(title="MeZO (8 microbatches)", colour=GREY, marker="o"),
    "AdamW": Series(title="AdamW", colour=GREY, marker="X"),
    "zo2_reference": Series(title="ZO2 (published code)", colour=VERMILLION, marker="s"),
    "zo2": Series(title="ZO2", colour=BLUE, marker="D"),
    "zo2 M=8": Series(title="ZO2 (8 microbatches)", colour=SKY, marker="^"),
    "zo2 k=8": Series(title="ZO2 (write-back every 8)", colour=BLUE, marker="v", line="--"),
    "naive": Series(title="naive offloading", colour=PURPLE, marker="P"),
    "dual": Series(title="dual forward", colour=GREEN, marker="*"),
    "host_update": Series(title="update on the host", colour=ORANGE, marker="h"),
}


def model_title(model: str) -> str:
    """``OPT-13B`` for ``opt-13b`` and its variant ``opt-13b:untied``; other names as they are."""
    name = model.partition(":")[0]
    return name.upper() if name.startswith("opt-") else name


_ALIASES = {"resident": "MeZO", "mezo": "MeZO", "adamw": "AdamW"}


def series(label: str) -> Series:
    """The look of a series label or policy; an unknown label takes that of its first word.

    ``zo2 k=4`` thus looks like ``zo2``, but keeps its own name; anything else is grey.
    """
    known = _SERIES.get(_ALIASES.get(label, label))
    if known is not None:
        return known
    word = label.split(" ")[0]
    family = _SERIES.get(_ALIASES.get(word, word))
    if family is None:
        return Series(title=label, colour=GREY, marker=".", line=":")
    title = label.replace(word, family.title, 1)
    return Series(title=title, colour=family.colour, marker=family.marker, line=":")
