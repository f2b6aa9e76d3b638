"""What ran, as it ends: the latest steps' spans, and whether everything ran as scheduled."""

from collections import deque
from collections.abc import Iterable

from zo2rt.steps.conformance import Conformance
from zo2sim.schedule.ops import Program, Stream
from zo2sim.simulate.trace import Span, Trace

KEPT_STEPS = 64
"""Older spans are checked and dropped, so that memory does not grow with the run."""


class Timeline:
    """Spans of a run that starts again after every flush. Times are on the backend's clock."""

    def __init__(self, program: Program, first_step: int) -> None:
        self._program = program
        self._spans: deque[Span] = deque()
        self._conformance = Conformance(program, first_step=first_step)

    def add(self, spans: Iterable[Span]) -> None:
        """Spans that have ended, in the order in which they were launched."""
        new = [*spans]
        self._conformance.add(new)
        self._spans.extend(new)
        while self._spans and self._spans[0].step <= self._spans[-1].step - KEPT_STEPS:
            self._spans.popleft()

    def flushed(self, num_steps: int) -> None:
        """Every operation of the steps before ``num_steps`` has been added."""
        self._conformance.finish(num_steps)
        divergence = self._conformance.divergence
        self._conformance = Conformance(self._program, first_step=num_steps)
        self._conformance.divergence = divergence

    def undone(self, step: int) -> None:
        """After a flush: the latest step was none, and its number is the next one's."""
        self._spans = deque(span for span in self._spans if span.step < step)
        self.flushed(step)

    @property
    def divergence(self) -> str | None:
        """The first way in which what ran is not what was scheduled; None where there is none."""
        return self._conformance.divergence

    def computed_s(self, step: int) -> float:
        """How long the device computed in a step, of several the one that computed longest; 0 for
        a step that is not kept."""
        busy: dict[int, float] = {0: 0.0}
        for span in self._spans:
            if span.step == step and span.op.stream is Stream.COMPUTE:
                busy[span.op.device] = busy.get(span.op.device, 0.0) + span.duration_s
        return max(busy.values())

    def trace(self) -> Trace:
        """The steps that are kept, in issue order, as the simulator has them."""
        order = self._program.period.index
        spans = sorted(self._spans, key=lambda span: (span.step, order[span.op.name]))
        start = min((span.start_s for span in spans), default=0.0)
        return Trace(
            name=self._program.period.name,
            steps_per_period=self._program.period.steps,
            spans=tuple(Span(s.op, s.step, s.start_s - start, s.end_s - start) for s in spans),
        )
