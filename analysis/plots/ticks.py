# pyright: reportUnknownMemberType=false
"""Where an axis has ticks, and what they say."""

from collections.abc import Iterable, Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator


def ticks_at(axis: Axis, places: Sequence[float], labels: Iterable[str]) -> None:
    """Labelled ticks there, and no others."""
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter([*labels]))
    axis.set_minor_locator(NullLocator())


def ticks_by_decade(axis: Axis) -> None:
    """At 1, 2 and 5 of every decade, written out."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_locator(NullLocator())


def plain(value: float, _: int | None = None) -> str:
    """A tick's label without an exponent."""
    return f"{value:g}"
