"""Discrete-event simulation (SimPy) of a program on a machine whose resources are shared.

Each track is a process that runs its operations in order. An operation waits for its edges,
takes its fixed time, then flows through its resources; its track goes on after its gap, and a
stream that must be woken after its wake-up. A fluid model divides what several operations want at
once, max-min fair.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import simpy

from zo2sim.schedule.ops import Op, Program
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.simulate.steady import MOST_PERIODS, Floats, cycles, forced, lengths
from zo2sim.simulate.trace import Span, Trace
from zo2sim.simulate.work import Rates, Resource, Work, sees_late

_NEGLIGIBLE_S = 1e-15  # a flow this short is over at once: its speed would overflow
_PLENTY = 0.999  # share of DRAM below which nobody gets less than it wants, whatever the rounding
_TOGETHER = 1 + 1e-12  # flows whose ends differ by rounding alone end together


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
    for length in lengths():
        trace = replace(_trace(program, work_of, rates, length + 1), trailing=1)
        cycle = int(cycles(_ends(trace, length))[0])
        if cycle:
            return replace(trace, cycle=cycle)
    assert trace is not None, "there is at least one length to try"
    return replace(trace, cycle=forced(MOST_PERIODS))


def _ends(trace: Trace, periods: int) -> Floats:
    """Ends of the first periods. The last one has the link to itself, as nothing follows it."""
    ends = np.array([span.end_s for span in trace.spans])
    return ends.reshape(periods + 1, -1, 1)[:-1]


def _trace(program: Program, work_of: Callable[[Op], Work], rates: Rates, periods: int) -> Trace:
    run = _Run(simpy.Environment(), unroll(program, periods=periods), rates, work_of)
    return Trace(name=program.period.name, steps_per_period=program.period.steps, spans=run.spans())


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
        self._fabric = Fabric(env, rates)
        self._work_of = work_of
        self._done = [env.event() for _ in ops]
        self._woken = [
            env.event() if work_of(item.op).wake_s > 0.0 else done
            for item, done in zip(ops, self._done, strict=True)
        ]
        self._times: list[tuple[float, float]] = [(0.0, 0.0)] * len(ops)

    def spans(self) -> tuple[Span, ...]:
        order = sorted(range(len(self._ops)), key=lambda i: self._ops[i].op.track)
        for _, numbers in groupby(order, key=lambda i: self._ops[i].op.track):
            self._env.process(self._track(list(numbers)))
        self._env.run()
        return tuple(
            Span(item.op, item.step, *times)
            for item, times in zip(self._ops, self._times, strict=True)
        )

    def _track(self, numbers: list[int]) -> Generator[simpy.Event, None, None]:
        for number in numbers:
            for ended in self._awaited(number):
                if not ended.processed:
                    yield ended
            start = self._env.now
            op = self._ops[number].op
            work = self._work_of(op)
            if work.fixed_s > 0.0:
                yield self._env.timeout(work.fixed_s)
            if self._fabric.flows(work):
                yield self._fabric.run(work, op.device)
            self._times[number] = (start, self._env.now)
            self._done[number].succeed()
            if work.wake_s > 0.0:
                self._env.process(self._wake(number, work.wake_s))
            if work.gap_s > 0.0:
                yield self._env.timeout(work.gap_s)

    def _awaited(self, number: int) -> Iterator[simpy.Event]:
        """What an operation waits for, beside its own track, which runs in order anyway."""
        own = self._ops[number].op.track
        for dep in self._ops[number].deps:
            track = self._ops[dep].op.track
            if track != own:
                yield (self._woken if sees_late(own, track) else self._done)[dep]

    def _wake(self, number: int, wake_s: float) -> Generator[simpy.Event, None, None]:
        yield self._env.timeout(wake_s)
        self._woken[number].succeed()


@dataclass(frozen=True, slots=True)
class _Want:
    """What one kind of work asks of the fabric, looked up once: shares per second with the link to
    itself and with both ways busy, the ways that it goes, bytes of DRAM, and seconds alone."""

    speeds: tuple[float, float]
    up: bool
    down: bool
    dram: float
    flow_s: float

    @classmethod
    def of(cls, work: Work, rates: Rates) -> "_Want":
        amounts = {r: float(amount) for r, amount in work.amounts.items() if amount > 0.0}
        shared = {Resource.LINK_H2D: rates.both_h2d, Resource.LINK_D2H: rates.both_d2h}
        alone = {r: rates.of(r) for r in amounts}
        return cls(
            speeds=(_slowest(amounts, alone), _slowest(amounts, alone | shared)),
            up=Resource.LINK_H2D in work.amounts,
            down=Resource.LINK_D2H in work.amounts,
            dram=amounts.get(Resource.DRAM, 0.0),
            flow_s=float(work.flow_s(rates)),
        )


def _slowest(amounts: Mapping[Resource, float], rates: Mapping[Resource, float]) -> float:
    return min((rates[r] / amount for r, amount in amounts.items()), default=0.0)


@dataclass(slots=True, eq=False)
class _Flow:
    """An operation that flows: the share that is left, and its speed in shares per second."""

    want: _Want
    device: int
    done: simpy.Event
    left: float = 1.0
    speed: float = 0.0


class Fabric:
    """Resources shared by the operations that flow at the same time.

    Link, cores, NVMe and device serve one stream each, so an operation's own speed limit is its
    slowest private resource; every device has a link of its own. Host DRAM is shared by all of
    them: bytes per second are divided max-min fair, so no operation could get more without one
    with less getting even less.
    """

    def __init__(self, env: simpy.Environment, rates: Rates) -> None:
        self._env = env
        self._rates = rates
        self._wants: dict[int, tuple[Work, _Want]] = {}
        self._flows: list[_Flow] = []
        self._next: list[_Flow] = []
        self._since = 0.0
        self._generation = 0

    def flows(self, work: Work) -> bool:
        """Whether the work takes any time beside its fixed one."""
        return self._want(work).flow_s > _NEGLIGIBLE_S

    def run(self, work: Work, device: int = 0) -> simpy.Event:
        """An event that fires when ``work``'s amounts have flowed, over the link of ``device``."""
        self._advance()
        flow = _Flow(self._want(work), device, self._env.event())
        self._flows.append(flow)
        self._reschedule()
        return flow.done

    def _want(self, work: Work) -> _Want:
        """Known by the object, which is kept: operations of one cost share it."""
        found = self._wants.get(id(work))
        if found is None:
            found = self._wants[id(work)] = (work, _Want.of(work, self._rates))
        return found[1]

    def _advance(self) -> None:
        elapsed = self._env.now - self._since
        for flow in self._flows:
            flow.left -= elapsed * flow.speed
        self._since = self._env.now

    def _reschedule(self) -> None:
        self._generation += 1
        if not self._flows:
            return
        self._set_speeds()
        first = max(0.0, min(flow.left / flow.speed for flow in self._flows))
        self._next = [f for f in self._flows if f.left <= first * f.speed * _TOGETHER]
        timeout = self._env.timeout(first, value=self._generation)
        callbacks: list[Callable[[simpy.Timeout], None]] = timeout.callbacks  # pyright: ignore
        callbacks.append(self._on_timeout)

    def _on_timeout(self, timeout: simpy.Timeout) -> None:
        if timeout.value != self._generation:
            return  # the flows have changed since; a later timeout stands for them
        self._advance()
        ended = self._next
        self._flows = [flow for flow in self._flows if flow not in ended]
        for flow in ended:
            flow.done.succeed()
        self._reschedule()

    def _set_speeds(self) -> None:
        flows = self._flows
        up = {flow.device for flow in flows if flow.want.up}
        both_ways = {flow.device for flow in flows if flow.want.down and flow.device in up}
        for flow in flows:
            flow.speed = flow.want.speeds[flow.device in both_ways]
        self._share_dram()

    def _share_dram(self) -> None:
        """Water-filling: who wants least is served first, the rest share what is left."""
        users = [flow for flow in self._flows if flow.want.dram > 0.0]
        if sum(flow.speed * flow.want.dram for flow in users) < _PLENTY * self._rates.dram:
            return
        users.sort(key=lambda flow: flow.speed * flow.want.dram)
        free = self._rates.dram
        for position, flow in enumerate(users):
            share = free / (len(users) - position)
            flow.speed = min(flow.speed, share / flow.want.dram)
            free -= flow.speed * flow.want.dram
