"""The executor: it walks a program's operations on a backend, and nothing else decides order.

An operation is launched on its track after waits for its edges, which is all that the schedule
asks for. Operations are enqueued step by step, because a step needs its batch; only arrivals of
the next step, which need none, are enqueued ahead, so that they run while this step ends.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zo2rt.backends import Backend, Event, Timing, Work
from zo2sim.schedule.ops import Kind, Op, Program, Schedule, Track
from zo2sim.simulate.trace import Span

ARRIVALS = (Kind.READ, Kind.ALLOC, Kind.ENCODE, Kind.H2D)
"""Kinds that need neither a batch nor a projected gradient."""

WorkOf = Callable[[Op, int], Work]
"""What an operation of a step does, from the operation and the step since the start."""


@dataclass(frozen=True, slots=True)
class Item:
    """An operation of one period; ``step`` counts from the start of the run."""

    op: Op
    period: int
    step: int


class Executor:
    """Runs a program's steps on a backend, from ``first_step`` on. Used from one thread."""

    def __init__(
        self, backend: Backend, program: Program, work_of: WorkOf, *, first_step: int = 0
    ) -> None:
        self._backend = backend
        self._program = program
        self._work_of = work_of
        self._first_step = first_step
        self._ahead: deque[Item] = deque()
        self._periods = 0
        self._events: dict[tuple[int, str], Event] = {}
        self._launched: deque[Item] = deque()
        self._loss: Event | None = None

    def enqueue_step(self, step: int) -> Event:
        """Enqueue what is left of a step, then the next one's arrivals; returns the loss's event.

        Steps come in ascending order, each once.
        """
        self._look_ahead()
        while self._ahead and self._ahead[0].step == step:
            self._enqueue(self._ahead.popleft())
        assert self._loss is not None, "every step ends with its loss"
        loss = self._loss
        self._enqueue_arrivals(step + 1)
        return loss

    def run(self, schedule: Schedule, work_of: WorkOf) -> None:
        """Run a schedule of its own on an idle machine, and wait for it: flush or evaluation.

        Take the `spans` of the steps before it first.
        """
        assert not self._launched, "the steps' spans would be lost"
        events: dict[str, Event] = {}
        for op in schedule.ops:
            for edge in op.after:
                self._backend.wait(op.track, events[edge])
            self._backend.launch(op.track, work_of(op, 0), label=op.name)
            events[op.name] = self._backend.record(op.track)
        self._backend.timings()

    def ended(self) -> tuple[Span, ...]:
        """Operations of steps that have ended, as they ran, each once. Does not wait."""
        return self._spans(self._backend.ended())

    def spans(self) -> tuple[Span, ...]:
        """The same of all that was enqueued; waits for it."""
        return self._spans(self._backend.timings())

    def _spans(self, timings: Sequence[Timing]) -> tuple[Span, ...]:
        items = [self._launched.popleft() for _ in timings]
        pairs = zip(items, timings, strict=True)
        return tuple(Span(item.op, item.step, t.start_s, t.end_s) for item, t in pairs)

    def _look_ahead(self) -> None:
        """Keep at least a whole period and a step in sight."""
        while len(self._ahead) < 2 * len(self._program.period.ops):
            schedule = self._program.period if self._periods else self._program.prologue
            first = self._first_step + self._periods * schedule.steps
            self._ahead.extend(Item(op, self._periods, first + op.step) for op in schedule.ops)
            self._periods += 1

    def _enqueue_arrivals(self, step: int) -> None:
        """Arrivals of a step whose edges are enqueued; a track stops at its first other one."""
        stopped: set[Track] = set()
        taken: list[Item] = []
        for item in self._ahead:
            if item.step > step:
                break
            if item.op.track in stopped:
                continue
            if item.op.kind in ARRIVALS and all(key in self._events for key in _edges(item)):
                self._enqueue(item)
                taken.append(item)
            else:
                stopped.add(item.op.track)
        for item in taken:
            self._ahead.remove(item)

    def _enqueue(self, item: Item) -> None:
        for key in _edges(item):
            event = self._events.get(key)
            assert event is not None, f"{item.op.name} waits on {key}, which is not enqueued"
            self._backend.wait(item.op.track, event)
        self._backend.launch(item.op.track, self._work_of(item.op, item.step), label=item.op.name)
        event = self._backend.record(item.op.track)
        self._events[item.period, item.op.name] = event
        self._events.pop((item.period - 2, item.op.name), None)
        self._launched.append(item)
        if item.op.kind is Kind.LOSS:
            self._loss = event


def _edges(item: Item) -> Iterator[tuple[int, str]]:
    """Operations that an item waits for, by period and name; none before the first period."""
    for edge in item.op.after:
        if not edge.endswith("^"):
            yield item.period, edge
        elif item.period > 0:
            yield item.period - 1, edge[:-1]
