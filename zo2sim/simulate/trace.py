"""Traces: what ran when. The simulator and the runtime fill the same object."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from zo2sim.schedule.ops import Kind, Op, Stream, Track
from zo2sim.simulate.steady import is_forced

COPY_STREAMS = (Stream.H2D, Stream.D2H)

Interval = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, slots=True)
class Span:
    """One operation that ran; it starts after its waits. ``step`` counts from the first step."""

    op: Op
    step: int
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time to look at."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Spans in issue order of a program that ran for some periods of ``steps_per_period`` steps.

    In the steady state the program repeats itself every ``cycle`` periods; ``trailing`` periods at
    the end do not count, because nothing follows them that would contend with them. What runs
    ``once`` has no steady state: the whole trace counts.
    """

    name: str
    steps_per_period: int
    cycle: int = 1
    trailing: int = 0
    once: bool = False
    spans: tuple[Span, ...]

    @property
    def averaged_periods(self) -> int:
        """Periods over which a step is only averaged, where nothing repeated; 0 where it did."""
        return self.cycle if is_forced(self.cycle) else 0

    @property
    def makespan_s(self) -> float:
        """From time 0 to the end of the last operation."""
        return max((span.end_s for span in self.spans), default=0.0)

    @cached_property
    def losses_s(self) -> tuple[float, ...]:
        """When each step's loss was known."""
        return tuple(s.end_s for s in self.spans if s.op.kind is Kind.LOSS)

    @property
    def first_step_s(self) -> float:
        """Time until the first loss: nothing is on the device yet and nothing is pending."""
        return self.losses_s[0]

    @property
    def steady(self) -> Window:
        """The last cycle, from loss to loss; ``ValueError`` for a trace that is too short."""
        if self.once:
            return Window(0.0, self.makespan_s)
        k = self.steady_steps
        losses = self.losses_s[: len(self.losses_s) - self.trailing * self.steps_per_period]
        if len(losses) <= k:
            raise ValueError(
                f"{self.name}: the steady state needs more than {k} steps; "
                f"the trace has {len(losses)} steps"
            )
        return Window(losses[-1 - k], losses[-1])

    @property
    def step_s(self) -> float:
        """Mean time of a step in the steady state."""
        return self.steady.length_s / self.steady_steps

    @property
    def steady_steps(self) -> int:
        """Steps in the steady window."""
        return self.cycle * self.steps_per_period

    def on(self, stream: Stream, device: int = 0) -> tuple[Span, ...]:
        """Spans of one track, in order."""
        track = Track(device, stream)
        return tuple(span for span in self.spans if span.op.track == track)

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """Tracks that ran anything, device by device, in the order of `Stream`."""
        used = {span.op.track for span in self.spans}
        order = {stream: number for number, stream in enumerate(Stream)}
        return tuple(sorted(used, key=lambda track: (track.device, order[track.stream])))

    @property
    def num_devices(self) -> int:
        """Devices up to the last one that ran anything."""
        return 1 + max((track.device for track in self.tracks), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where a window's time goes on one device, in seconds.

    ``busy_s`` per stream; ``exposed_s`` is the time in which the device copies but does not
    compute, ``bubble_s`` that in which it does neither.
    """

    length_s: float
    busy_s: dict[Stream, float]
    exposed_s: float
    bubble_s: float


def breakdown(trace: Trace, window: Window, device: int = 0) -> Breakdown:
    """Busy, exposed and bubble time of a window."""
    streams = tuple(track.stream for track in trace.tracks if track.device == device)
    spans = {stream: clipped(trace.on(stream, device), window) for stream in streams}
    compute = spans.get(Stream.COMPUTE, [])
    copies = [interval for stream in COPY_STREAMS for interval in spans.get(stream, [])]
    computing, either = _covered_s(compute), _covered_s([*compute, *copies])
    return Breakdown(
        length_s=window.length_s,
        busy_s={stream: _covered_s(intervals) for stream, intervals in spans.items()},
        exposed_s=either - computing,
        bubble_s=window.length_s - either,
    )


def clipped(spans: Iterable[Span], window: Window) -> list[Interval]:
    """The part of every span that lies in the window, of those that take some of it."""
    cut = ((max(s.start_s, window.start_s), min(s.end_s, window.end_s)) for s in spans)
    return [(start, end) for start, end in cut if end > start]


def _covered_s(intervals: list[Interval]) -> float:
    """Total length of a union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
