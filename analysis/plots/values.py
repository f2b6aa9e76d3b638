# pyright: reportUnknownMemberType=false
"""What a figure's marks and bars stand for, and where they are: for a page that shows it on hover.

The values travel inside the SVG as data, so a figure that is read from a folder has them, too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Bbox, BboxBase

_TAG = "zo2sim-values"
_FOUND = re.compile(rf'<metadata id="{_TAG}">(.*?)</metadata>', re.DOTALL)
_MARK = 0.014
"""Half of the side of a mark's field, as a share of the figure's width."""
_NARROW = 0.001
"""Share of the figure's width below which nobody hits a bar."""
_MOST = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A field of a figure, in shares of its width and height from the upper left, and its text."""

    left: float
    top: float
    width: float
    height: float
    text: str


def values(figure: Figure) -> list[Value]:
    """Of every mark and bar that has a name; the largest where there are very many.

    Of marks that lie on each other the first one's field says what all of them stand for.
    """
    found = [value for axes in figure.axes for value in _apart(_of_axes(axes))]
    return sorted(found, key=lambda value: -value.width)[:_MOST]


def _apart(found: Iterable[Value]) -> list[Value]:
    kept: list[Value] = []
    for value in found:
        same = next((n for n, other in enumerate(kept) if _covers(other, value)), None)
        if same is None:
            kept.append(value)
        else:
            kept[same] = replace(kept[same], text=f"{kept[same].text}\n{value.text}")
    return kept


def _covers(one: Value, other: Value) -> bool:
    """Whether fields of one size lie on each other by more than half in either direction."""
    near = abs(one.left - other.left) < one.width / 2 and abs(one.top - other.top) < one.height / 2
    return near and (one.width, one.height) == (other.width, other.height)


def with_values(svg: str, figure: Figure) -> str:
    """The figure's SVG text with its values inside."""
    found = [asdict(value) for value in values(figure)]
    if not found:
        return svg
    text = json.dumps(found, ensure_ascii=True).replace("&", "\\u0026").replace("<", "\\u003c")
    return svg.replace("</svg>", f'<metadata id="{_TAG}">{text}</metadata></svg>')


def read_values(svg: str) -> list[Value]:
    """The values inside an SVG text; none where it has none that can be read."""
    found = _FOUND.search(svg)
    if found is None:
        return []
    try:
        return [_read(item) for item in json.loads(found[1])]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _read(item: dict[str, object]) -> Value:
    left, top, width, height = (float(str(item[k])) for k in ("left", "top", "width", "height"))
    return Value(left=left, top=top, width=width, height=height, text=str(item["text"]))


def _of_axes(axes: Axes) -> Iterator[Value]:
    for line in axes.get_lines():
        if _named(line.get_label()) and line.get_marker() not in ("", "None", None):
            yield from _marks(axes, line)
    for container in axes.containers:
        if isinstance(container, BarContainer) and _named(container.get_label()):
            for bar in container.patches:
                text = f"{container.get_label()}{_row(axes, bar)}: {bar.get_width():.4g}"
                yield _field(axes, bar.get_window_extent(), text)
    for collection in axes.collections:
        if isinstance(collection, PolyCollection) and _named(collection.get_label()):
            yield from _bars(axes, collection)


def _row(axes: Axes, bar: Rectangle) -> str:
    """What the axis calls the row of a bar; nothing where it shows numbers."""
    if not isinstance(axes.yaxis.get_major_locator(), FixedLocator):
        return ""
    middle = bar.get_y() + bar.get_height() / 2
    places = np.abs(np.asarray(axes.get_yticks(), dtype=float) - middle)
    words = axes.get_yticklabels()[int(places.argmin())].get_text() if len(places) else ""
    return f", {words}" if words else ""


def _named(label: object) -> bool:
    return bool(label) and not str(label).startswith("_")


def _marks(axes: Axes, line: Line2D) -> Iterator[Value]:
    for x, y in np.asarray(line.get_xydata(), dtype=float).tolist():
        if np.isfinite((x, y)).all():
            at = axes.transData.transform((x, y))
            side = _MARK * _width(axes)
            box = Bbox.from_extents(*(at - side), *(at + side))
            yield _field(axes, box, f"{line.get_label()}: {y:.4g} at {x:.4g}")


def _bars(axes: Axes, collection: PolyCollection) -> Iterator[Value]:
    """Bars of a timeline: what, how long, and from when on, in the unit of the axis."""
    for path in collection.get_paths():
        box = path.get_extents()
        pixels = box.transformed(axes.transData)
        if pixels.width > _NARROW * _width(axes):
            words = f"{collection.get_label()}: {box.width:.4g} from {box.x0:.4g} on"
            yield _field(axes, pixels, words)


def _width(axes: Axes) -> float:
    return _figure_box(axes).width


def _figure_box(axes: Axes) -> BboxBase:
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes of a figure"
    return figure.bbox


def _field(axes: Axes, box: BboxBase, text: str) -> Value:
    whole = _figure_box(axes)
    return Value(
        left=round(box.x0 / whole.width, 5),
        top=round(1.0 - box.y1 / whole.height, 5),
        width=round(box.width / whole.width, 5),
        height=round(box.height / whole.height, 5),
        text=text,
    )
