"""Discrete-event simulation (SimPy) of a program on a machine whose resources are shared.

Each track is a process that runs its operations in order. An operation waits for its edges,
takes its fixed time, then flows through its resources; its track goes on after its gap, and a
stream that must be woken after its wake-up. A fluid model divides what several operations want at
once, max-min fair.
"""

from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np
import simpy

from zo2sim.schedule.ops import Op, Program, Stream, Track
from zo2sim.schedule.unroll import Unrolled, unroll
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
    return ends.reshape(periods + 1, -1)[:periods, :, None]


def _trace(program: Program, work_of: Callable[[Op], Work], rates: Rates, periods: int) -> Trace:
    run = _Run(simpy.Environment(), unroll(program, periods=periods), rates, work_of)
    return Trace(name=program.period.name, steps_per_period=program.period.steps, spans=run.spans())


@dataclass(frozen=True, slots=True)
class _Costed:
    """An operation's work: seconds, and what flows through the fabric, if anything does."""

    fixed_s: float
    want: Want | None
    in_turn: tuple[simpy.Resource, Want] | None
    gap_s: float
    wake_s: float


class _Run:
    """One simulation: a process per track, an event per operation that ended, and another one
    where the stream that computes is woken later."""

    def __init__(
        self,
        env: simpy.Environment,
        ops: tuple[Unrolled, ...],
        rates: Rates,
        work_of: Callable[[Op], Work],
    ) -> None:
        self._env = env
        self._ops = ops
        self._rates = rates
        self._fabric = Fabric(env, rates)
        self._wants: dict[tuple[int, int, int], tuple[Work, Want]] = {}
        self._turns = defaultdict[int, simpy.Resource](lambda: simpy.Resource(env))
        self._costed = self._looked_up_once(work_of)
        self._done = [env.event() for _ in ops]
        self._woken = self._apart(lambda costed: costed.wake_s > 0.0)
        self._free = self._done
        if any(item.op.device for item in ops):
            self._free = self._apart(lambda costed: costed.gap_s > 0.0)
        tracks = {item.op.track for item in ops}
        self._ends_seen = {(own, of): self._seen(own, of) for own in tracks for of in tracks}
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

    def _apart(self, later: Callable[[_Costed], bool]) -> list[simpy.Event]:
        """Events of their own for operations that are over ``later`` for some others."""
        pairs = zip(self._costed, self._done, strict=True)
        return [self._env.event() if later(costed) else done for costed, done in pairs]

    def spans(self) -> tuple[Span, ...]:
        tracks = defaultdict[Track, list[int]](list)
        for number, item in enumerate(self._ops):
            tracks[item.op.track].append(number)
        for track in sorted(tracks):
            self._env.process(self._track(tracks[track]))
        self._env.run()
        return tuple(
            Span(item.op, item.step, *times)
            for item, times in zip(self._ops, self._times, strict=True)
        )

    def _track(self, numbers: list[int]) -> Generator[simpy.Event, None, None]:
        env = self._env
        for number in numbers:
            for ended in self._awaited(number):
                if not ended.processed:
                    yield ended
            start, costed = env.now, self._costed[number]
            done = self._done[number]
            if costed.fixed_s > 0.0:
                yield env.timeout(costed.fixed_s)
            if costed.want is not None:
                yield self._fabric.run(costed.want)
            if costed.in_turn is not None:
                yield from self._in_turn(*costed.in_turn)
            self._times[number] = (start, env.now)
            done.succeed()
            if costed.wake_s > 0.0:
                env.process(self._wake(number, costed.wake_s))
            if costed.gap_s > 0.0:
                yield env.timeout(costed.gap_s)
                if self._free[number] is not done:
                    self._free[number].succeed()

    def _in_turn(self, turns: simpy.Resource, want: Want) -> Generator[simpy.Event, None, None]:
        """First come, first served."""
        own = turns.request()
        yield own
        yield self._fabric.run(want)
        turns.release(own)

    def _awaited(self, number: int) -> list[simpy.Event]:
        """What an operation waits for, beside its own track, which runs in order anyway."""
        ops = self._ops
        own = ops[number].op.track
        others = [(ops[dep].op.track, dep) for dep in ops[number].deps]
        return [self._ends_seen[own, track][dep] for track, dep in others if track != own]

    def _seen(self, own: Track, track: Track) -> list[simpy.Event]:
        """When the one track sees what ended on the other."""
        if sees_late(own, track):
            return self._woken
        return self._free if own.stream is Stream.COMPUTE is track.stream else self._done

    def _wake(self, number: int, wake_s: float) -> Generator[simpy.Event, None, None]:
        yield self._env.timeout(wake_s)
        self._woken[number].succeed()
