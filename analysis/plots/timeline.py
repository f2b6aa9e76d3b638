# pyright: reportUnknownMemberType=false
"""A Gantt chart of a trace: a whole window, and a few blocks of it enlarged."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.plots.style import (
    BLACK,
    BLUE,
    FULL_IN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SHADES,
    SKY,
    VERMILLION,
    YELLOW,
    new_figure,
    styled,
)
from zo2sim.schedule.ops import Kind, Stream, Track
from zo2sim.simulate.trace import COPY_STREAMS, Interval, Span, Trace, Window, clipped

ZOOM_BLOCKS = 4
"""Blocks in the enlarged panel."""

_COLOURS = {
    Kind.H2D: ORANGE,
    Kind.UPDATE: GREEN,
    Kind.BUILD: YELLOW,
    Kind.FORWARD: BLUE,
    Kind.D2H: SKY,
    Kind.ALLOC: PURPLE,
    Kind.LOSS: BLACK,
    Kind.JOURNAL: BLACK,
    Kind.READ: YELLOW,
    Kind.WRITE: YELLOW,
    Kind.ENCODE: YELLOW,
    Kind.HOST_UPDATE: GREEN,
    Kind.SEND: PURPLE,
    Kind.GATHER: PURPLE,
    Kind.BACKWARD: SHADES[0],
    Kind.GRADIENT_D2H: PURPLE,
    Kind.SPILL: SKY,
    Kind.RESTORE: ORANGE,
    Kind.OPTIMIZE: GREEN,
    Kind.HOST_OPTIMIZE: GREEN,
    Kind.STATE_READ: YELLOW,
    Kind.STATE_WRITE: YELLOW,
    Kind.GRADIENT_WRITE: YELLOW,
}
_TITLES = {
    Kind.H2D: "upload",
    Kind.UPDATE: "update",
    Kind.BUILD: "perturbation",
    Kind.FORWARD: "dual forward",
    Kind.D2H: "offload",
    Kind.ALLOC: "allocation",
    Kind.LOSS: "loss, journal",
    Kind.JOURNAL: "loss, journal",
    Kind.READ: "drive",
    Kind.WRITE: "drive",
    Kind.ENCODE: "encode",
    Kind.HOST_UPDATE: "update on the CPU",
    Kind.SEND: "to the next device",
    Kind.GATHER: "gather slices",
    Kind.BACKWARD: "backward",
    Kind.GRADIENT_D2H: "gradients",
    Kind.SPILL: "checkpoint out",
    Kind.RESTORE: "checkpoint in",
    Kind.OPTIMIZE: "Adam",
    Kind.HOST_OPTIMIZE: "Adam on the CPU",
    Kind.STATE_READ: "drive",
    Kind.STATE_WRITE: "drive",
    Kind.GRADIENT_WRITE: "drive",
}
LANES = {
    Stream.H2D: "to the device",
    Stream.COMPUTE: "compute",
    Stream.D2H: "to the host",
    Stream.HOST: "CPU",
    Stream.NVME_READ: "drive, read",
    Stream.NVME_WRITE: "drive, write",
    Stream.PEER: "from others",
}
"""What a stream is called beside its row."""
_HEIGHT = 0.72


@styled
def timeline(trace: Trace, window: Window) -> Figure:
    """Tracks as rows, operations as bars; red is time in which the device copies but waits.

    The upper panel shows ``window``, the lower one `ZOOM_BLOCKS` blocks from its middle.
    """
    tracks = tuple(t for t in trace.tracks if _in(trace.on(t.stream, t.device), window))
    figure = new_figure(FULL_IN, 1.0 + 0.38 * len(tracks) + 0.5)
    whole, part = figure.subplots(2, 1)
    draw_panel(whole, trace, window, tracks)
    whole.set_xlabel("time (s)", labelpad=1)
    zoom = zoom_window(trace, window)
    draw_panel(part, trace, zoom, tracks, scale=1e3, named=True)
    part.set_xlabel("time (ms), from the middle of the step", labelpad=1)
    figure.legend(handles=kinds_legend(trace, window), loc="outside upper center", ncols=7)
    return figure


def zoom_window(trace: Trace, window: Window) -> Window:
    """From the middle of the window, `ZOOM_BLOCKS` forwards and the gaps between them."""
    forwards = [
        span
        for span in _in(trace.on(Stream.COMPUTE), window)
        if span.op.kind is Kind.FORWARD and (span.op.unit or 0) >= 0
    ]
    if len(forwards) <= ZOOM_BLOCKS:
        return window
    first = (len(forwards) - ZOOM_BLOCKS) // 2
    return Window(forwards[first].start_s, forwards[first + ZOOM_BLOCKS].start_s)


def exposed(trace: Trace, window: Window) -> tuple[Interval, ...]:
    """Stretches of the window in which the device copies but does not compute."""
    copies = [span for stream in COPY_STREAMS for span in trace.on(stream)]
    computing = _merged(clipped(trace.on(Stream.COMPUTE), window))
    return tuple(
        gap for copy in _merged(clipped(copies, window)) for gap in _without(copy, computing)
    )


def draw_panel(
    axes: Axes,
    trace: Trace,
    window: Window,
    tracks: tuple[Track, ...],
    *,
    scale: float = 1.0,
    named: bool = False,
) -> None:
    """Tracks as rows; bars are in seconds times ``scale`` since the window's start."""

    def seconds(interval: Interval) -> Interval:
        return (interval[0] - window.start_s) * scale, (interval[1] - interval[0]) * scale

    for start, length in map(seconds, exposed(trace, window)):
        axes.axvspan(start, start + length, color=VERMILLION, alpha=0.22, lw=0)
    for row, track in enumerate(tracks):
        for kind, spans in _by_kind(_in(trace.on(track.stream, track.device), window)).items():
            bars = [seconds(interval) for interval in clipped(spans, window)]
            colour = _COLOURS.get(kind, GREY)
            axes.broken_barh(
                bars,
                (row - _HEIGHT / 2, _HEIGHT),
                facecolor=colour,
                edgecolor="white",
                lw=0.15,
                label=_TITLES.get(kind, "other"),
            )
            if named:
                _name(axes, spans, window, row, scale)
    axes.set_yticks(range(len(tracks)), [_lane(track) for track in tracks])
    axes.set_ylim(len(tracks) - 0.5, -0.5)
    axes.set_xlim(0.0, window.length_s * scale)
    axes.tick_params(axis="y", length=0)


def _lane(track: Track) -> str:
    """The row's name; of devices but the first with its number, as operations have it."""
    name = LANES[track.stream]
    return f"{name} %{track.device}" if track.device else name


def _name(axes: Axes, spans: Sequence[Span], window: Window, row: int, scale: float) -> None:
    """Operation names in the bars that are wide enough for them."""
    for span, (start, end) in zip(spans, clipped(spans, window), strict=True):
        if end - start > 0.035 * window.length_s:
            x = ((start + end) / 2 - window.start_s) * scale
            ink = "white" if span.op.kind in (Kind.FORWARD, Kind.LOSS, Kind.UPDATE) else BLACK
            axes.text(x, row, span.op.name, ha="center", va="center", fontsize=6.5, color=ink)


def kinds_legend(trace: Trace, window: Window) -> list[Patch]:
    """One patch per kind of operation that the window shows."""
    shown = {s.op.kind for s in _in(trace.spans, window)}
    kinds = [kind for kind in (*_TITLES, *Kind) if kind in shown]
    forward = "forward" if Kind.BACKWARD in shown else _TITLES[Kind.FORWARD]
    names = {**_TITLES, Kind.FORWARD: forward}
    titles = {names.get(kind, "other"): _COLOURS.get(kind, GREY) for kind in kinds}
    patches = [Patch(color=colour, label=title) for title, colour in titles.items()]
    if exposed(trace, window):
        patches.append(Patch(color=VERMILLION, alpha=0.22, lw=0, label="exposed copy"))
    return patches


def _by_kind(spans: Sequence[Span]) -> dict[Kind, list[Span]]:
    kinds: dict[Kind, list[Span]] = {}
    for span in spans:
        kinds.setdefault(span.op.kind, []).append(span)
    return kinds


def _in(spans: Sequence[Span], window: Window) -> list[Span]:
    """Spans that take some time of the window."""
    return [span for span in spans if clipped([span], window)]


def _merged(intervals: Sequence[Interval]) -> list[Interval]:
    """The union, as disjoint intervals in order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(interval: Interval, holes: Sequence[Interval]) -> list[Interval]:
    """What is left of an interval; ``holes`` are disjoint and in order."""
    left: list[Interval] = []
    start, end = interval
    for hole_start, hole_end in holes:
        if hole_end <= start or hole_start >= end:
            continue
        if hole_start > start:
            left.append((start, hole_start))
        start = max(start, hole_end)
    return [*left, (start, end)] if end > start else left
