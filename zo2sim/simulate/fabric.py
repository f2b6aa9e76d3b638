"""Operations that flow at the same time, and how fast each of them does."""

from collections.abc import Mapping
from dataclasses import dataclass

import simpy
from simpy.events import EventPriority

from zo2sim.schedule.ops import Op
from zo2sim.simulate import pools
from zo2sim.simulate.sharing import Pool, capacities, draws, sender
from zo2sim.simulate.work import Rates, Resource, Sharing, Work

_NEGLIGIBLE_S = 1e-15  # a flow this short is over at once: its speed would overflow
_TOGETHER = 1 + 1e-12  # flows whose ends differ by rounding alone end together
_LAST = EventPriority(2)  # of what happens at one instant


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
    drawn: pools.Flow[Pool] | None
    left: float = 1.0
    speed: float = 0.0


class Fabric:
    """Resources shared by the operations that flow at the same time.

    Cores, NVMe and device serve one stream each, so an operation's own speed limit is its slowest
    private resource. Host DRAM is shared by all of them: bytes per second are divided max-min fair,
    so no operation could get more without one with less getting even less. Where the machine says
    what several devices share (`zo2sim.simulate.sharing`), all of that is divided so; else every
    device has a link of its own.

    Speeds are set once for every instant at which flows begin or end, after all of them have.
    """

    def __init__(self, env: simpy.Environment, rates: Rates) -> None:
        self._env = env
        self._rates = rates
        self._wants: dict[int, tuple[Work, _Want]] = {}
        self._flowing: dict[tuple[int, int, int], pools.Flow[Pool]] = {}
        self._speeds: dict[tuple[int, ...], list[float]] = {}
        self._flows: list[_Flow] = []
        self._next: list[_Flow] = []
        self._since = 0.0
        self._generation = 0
        self._settling = False
        self._end = env.event()  # of an instant, one after the other
        self._end._ok = True  # pyright: ignore[reportPrivateUsage]

    def flows(self, work: Work) -> bool:
        """Whether the work takes any time beside its fixed one."""
        return self._want(work).flow_s > _NEGLIGIBLE_S

    def run(self, work: Work, op: Op) -> simpy.Event:
        """An event that fires when the amounts of an operation's ``work`` have flowed."""
        self._advance()
        want = self._want(work)
        flow = _Flow(want, op.device, self._env.event(), drawn=self._drawn(work, want, op))
        self._flows.append(flow)
        self._change()
        return flow.done

    def _want(self, work: Work) -> _Want:
        """Known by the object, which is kept: operations of one cost share it."""
        found = self._wants.get(id(work))
        if found is None:
            found = self._wants[id(work)] = (work, _Want.of(work, self._rates))
        return found[1]

    def _drawn(self, work: Work, want: _Want, op: Op) -> pools.Flow[Pool] | None:
        """What it takes of what several devices share; None where nothing is said of that."""
        sharing = self._rates.sharing
        if sharing is None:
            return None
        key = id(work), op.device, sender(op)
        found = self._flowing.get(key)
        if found is None:
            drawn = pools.Flow(want.speeds[0], draws(op, work, sharing))
            found = self._flowing[key] = drawn
        return found

    def _advance(self) -> None:
        elapsed = self._env.now - self._since
        if elapsed == 0.0:
            return
        for flow in self._flows:
            flow.left -= elapsed * flow.speed
        self._since = self._env.now

    def _change(self) -> None:
        """The flows are others than they were: their speeds are set at the end of this instant."""
        self._generation += 1
        if self._settling:
            return
        self._settling = True
        self._end.callbacks = [self._settle]
        self._env.schedule(self._end, _LAST)

    def _settle(self, _: simpy.Event) -> None:
        self._settling = False
        if not self._flows:
            return
        self._set_speeds()
        first = max(0.0, min(flow.left / flow.speed for flow in self._flows))
        self._next = [f for f in self._flows if f.left <= first * f.speed * _TOGETHER]
        timeout = self._env.timeout(first, value=self._generation)
        timeout.callbacks.append(self._on_timeout)  # pyright: ignore[reportUnknownMemberType]

    def _on_timeout(self, timeout: simpy.Timeout) -> None:
        if timeout.value != self._generation:
            return  # the flows have changed since; a later timeout stands for them
        self._advance()
        ended = self._next
        self._flows = [flow for flow in self._flows if flow not in ended]
        for flow in ended:
            flow.done.succeed()
        self._change()

    def _set_speeds(self) -> None:
        flows = self._flows
        if self._rates.sharing is not None:
            self._share(self._rates.sharing)
            return
        up = {flow.device for flow in flows if flow.want.up}
        both_ways = {flow.device for flow in flows if flow.want.down and flow.device in up}
        for flow in flows:
            flow.speed = flow.want.speeds[flow.device in both_ways]
        self._share_dram()

    def _share(self, sharing: Sharing) -> None:
        """Links, uplinks, sockets' memory and the interpreter, divided max-min fair at once; the
        same flows meet again every period."""
        drawn = tuple(flow.drawn for flow in self._flows if flow.drawn is not None)
        key = tuple(map(id, drawn))
        speeds = self._speeds.get(key)
        if speeds is None:
            room = capacities((pool for one in drawn for pool in one.amounts), sharing)
            speeds = self._speeds[key] = pools.rates(drawn, room)
        for flow, speed in zip(self._flows, speeds, strict=True):
            flow.speed = speed

    def _share_dram(self) -> None:
        users = [flow for flow in self._flows if flow.want.dram > 0.0]
        if sum(f.speed * f.want.dram for f in users) < pools.PLENTY * self._rates.dram:
            return  # as `pools` says, too: most of the time
        drawn = [pools.Flow(f.speed, {Resource.DRAM: f.want.dram}) for f in users]
        speeds = pools.rates(drawn, {Resource.DRAM: self._rates.dram})
        for flow, speed in zip(users, speeds, strict=True):
            flow.speed = speed
