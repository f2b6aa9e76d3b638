# pyright: reportUnknownMemberType=false
"""The step of many workers over their number."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.plots.style import BLUE, COLUMN_IN, GREEN, VERMILLION, new_figure, styled
from analysis.plots.ticks import plain
from zo2sim.predict.ranks import RankStep

_COLOURS = (VERMILLION, GREEN)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Steps of growing numbers of workers, along one direction or with one for each."""

    directions: str
    noise: str
    network: str
    steps: tuple[RankStep, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per number of workers."""
        of = {"directions": self.directions, "noise": self.noise, "network": self.network}
        return [
            {**of, **asdict(step), "step_s": step.step_s, "efficiency": step.efficiency}
            for step in self.steps
        ]

    @property
    def label(self) -> str:
        """What it is, for a legend."""
        way = "one direction" if self.directions == "one" else f"own directions, {self.noise}"
        return f"{way}, {self.network}"


@styled
def scale_figure(curves: Sequence[Curve], walls: Mapping[str, float]) -> Figure:
    """Both axes logarithmic; dashed over a LAN, dotted lines where replay takes as long as the
    forwards."""
    figure = new_figure(COLUMN_IN, 2.7)
    axes = figure.add_subplot()
    colours = dict(zip(walls, _COLOURS, strict=False))
    for curve in curves:
        colour = BLUE if curve.directions == "one" else colours[curve.noise]
        x, y = [s.workers for s in curve.steps], [s.step_s for s in curve.steps]
        dashed = curve.network == "LAN"
        axes.plot(x, y, "--" if dashed else "o-", color=colour, label=curve.label)
    for noise, workers in walls.items():
        axes.axvline(workers, color=colours[noise], lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("workers")
    axes.set_ylabel("step (s)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
