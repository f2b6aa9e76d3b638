"""Discrete-event simulation of a program on a machine whose resources are shared.

Each track is a process that runs its operations in order. An operation waits for its edges,
takes its fixed time, then flows through its resources; its track goes on after its gap, and a
stream that must be woken after its wake-up. A fluid model divides what several operations want at
once, max-min fair.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from zo2sim.schedule.ops import Op, Program, Stream, Track
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.simulate.clock import Clock, Event, Turn
from zo2sim.simulate.fabric import Fabric, Want
from zo2sim.simulate.sharing import sender, turn_of
from zo2sim.simulate.steady import Floats, cycles, forced, lengths, most_periods
from zo2sim.simulate.trace import Span, Trace
from zo2sim.simulate.work import Rates, Work, sees_late


def simulate(
    program: Program,
    work_of: Callable[[Op], Work],
    rates: Rates,
    *,
    periods: int | None = None,
) -> Trace:
    """Run the prologue and ``periods - 1`` periods, or until the program repeats itself.

    ``work_of`` gives the cost of an operation on the machine that ``rates`` describe. The same
    arguments give the same trace.
    """
    if periods is not None:
        return _trace(program, work_of, rates, periods)
    trace = None
    most = most_periods(1 + max((op.device for op in program.period.ops), default=0))
    for length in lengths(most):
        trace = replace(_trace(program, work_of, rates, length + 1), trailing=1)
        cycle = int(cycles(_ends(trace, length))[0])
        if cycle:
            return replace(trace, cycle=cycle)
    assert trace is not None, "there is at least one length to try"
    return replace(trace, cycle=forced(most))


def _ends(trace: Trace, periods: int) -> Floats:
    """Ends of the first periods. The last one has the link to itself, as nothing follows it."""
    ends = np.array([span.end_s for span in trace.spans])
    return ends.reshape(periods + 1, -1, 1)[:-1]


def _trace(program: Program, work_of: Callable[[Op], Work], rates: Rates, periods: int) -> Trace:
    run = _Run(unroll(program, periods=periods), rates, work_of)
    return Trace(name=program.period.name, steps_per_period=program.period.steps, spans=run.spans())


@dataclass(frozen=True, slots=True)
class _Costed:
    """An operation's work: seconds, and what flows through the fabric, if anything does."""

    fixed_s: float
    want: Want | None
    in_turn: tuple[Turn, Want] | None
    gap_s: float
    wake_s: float


class _Run:
    """One simulation: a process per track, an event per operation that ended, and another one
    where the stream that computes is woken later."""

    def __init__(
        self, ops: tuple[Unrolled, ...], rates: Rates, work_of: Callable[[Op], Work]
    ) -> None:
        self._clock = Clock()
        self._ops = ops
        self._rates = rates
        self._fabric = Fabric(self._clock, rates)
        self._wants: dict[tuple[int, int, int], tuple[Work, Want]] = {}
        self._turns = defaultdict[int, Turn](lambda: Turn(self._clock))
        self._costed = self._looked_up_once(work_of)
        self._done = [Event() for _ in ops]
        self._woken = self._apart(lambda costed: costed.wake_s > 0.0)
        self._free = self._done
        if any(item.op.device for item in ops):
            self._free = self._apart(lambda costed: costed.gap_s > 0.0)
        self._times: list[tuple[float, float]] = [(0.0, 0.0)] * len(ops)

    def _looked_up_once(self, work_of: Callable[[Op], Work]) -> list[_Costed]:
        """What each operation costs; those of a period are the same objects in every period."""
        ops = {id(item.op): item.op for item in self._ops}
        known = {number: self._cost(op, work_of(op)) for number, op in ops.items()}
        return [known[id(item.op)] for item in self._ops]

    def _cost(self, op: Op, work: Work) -> _Costed:
        want, turn = self._want(work, op), work.in_turn
        return _Costed(
            fixed_s=float(work.fixed_s),
            want=want if want.flows else None,
            in_turn=None if turn is None else (self._turns[turn_of(op)], self._want(turn, op)),
            gap_s=float(work.gap_s),
            wake_s=float(work.wake_s),
        )

    def _want(self, work: Work, op: Op) -> Want:
        """Known by the object, which is kept: operations of one cost share it."""
        key = id(work), op.device, sender(op)
        found = self._wants.get(key)
        if found is None:
            found = self._wants[key] = (work, Want.of(work, op, self._rates))
        return found[1]

    def _apart(self, later: Callable[[_Costed], bool]) -> list[Event]:
        """Events of their own for operations that are over ``later`` for some others."""
        pairs = zip(self._costed, self._done, strict=True)
        return [Event() if later(costed) else done for costed, done in pairs]

    def spans(self) -> tuple[Span, ...]:
        tracks = defaultdict[Track, list[int]](list)
        for number, item in enumerate(self._ops):
            tracks[item.op.track].append(number)
        for track in sorted(tracks):
            self._clock.process(self._track(tracks[track]))
        self._clock.run()
        return tuple(
            Span(item.op, item.step, *times)
            for item, times in zip(self._ops, self._times, strict=True)
        )

    def _track(self, numbers: list[int]) -> Iterator[Event]:
        clock = self._clock
        for number in numbers:
            for ended in self._awaited(number):
                if not ended.over:
                    yield ended
            start, costed = clock.now, self._costed[number]
            done = self._done[number]
            if costed.fixed_s > 0.0:
                yield clock.timeout(costed.fixed_s)
            if costed.want is not None:
                yield self._fabric.run(costed.want)
            if costed.in_turn is not None:
                yield from self._in_turn(*costed.in_turn)
            self._times[number] = (start, clock.now)
            clock.soon(done)
            if costed.wake_s > 0.0:
                clock.process(self._wake(number, costed.wake_s))
            if costed.gap_s > 0.0:
                yield clock.timeout(costed.gap_s)
                if self._free[number] is not done:
                    clock.soon(self._free[number])

    def _in_turn(self, turn: Turn, want: Want) -> Iterator[Event]:
        """First come, first served."""
        yield turn.request()
        yield self._fabric.run(want)
        turn.release()

    def _awaited(self, number: int) -> list[Event]:
        """What an operation waits for, beside its own track, which runs in order anyway."""
        ops = self._ops
        own = ops[number].op.track
        others = [(ops[dep].op.track, dep) for dep in ops[number].deps]
        return [self._seen(own, track)[dep] for track, dep in others if track != own]

    def _seen(self, own: Track, track: Track) -> list[Event]:
        """When the one track sees what ended on the other."""
        if sees_late(own, track):
            return self._woken
        return self._free if own.stream is Stream.COMPUTE is track.stream else self._done

    def _wake(self, number: int, wake_s: float) -> Iterator[Event]:
        yield self._clock.timeout(wake_s)
        self._clock.soon(self._woken[number])
