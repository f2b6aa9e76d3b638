"""Operations that flow at the same time, and how fast each of them does."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import simpy
from simpy.events import EventPriority

from zo2sim.schedule.ops import Op
from zo2sim.simulate import pools
from zo2sim.simulate.sharing import Pool, capacities, draws
from zo2sim.simulate.work import Rates, Resource, Work

_NEGLIGIBLE_S = 1e-15  # a flow this short is over at once: its speed would overflow
_TOGETHER = 1 + 1e-12  # flows whose ends differ by rounding alone end together
_LAST = EventPriority(2)  # of what happens at one instant


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """What one kind of work asks of the fabric: shares per second with the link to itself and with
    both ways busy, the device and the ways of its link that it goes, bytes of DRAM, seconds alone,
    and what it takes of what several devices share, where the machine says what that is."""

    speeds: tuple[float, float]
    device: int
    up: bool
    down: bool
    dram: float
    flow_s: float
    drawn: pools.Flow[Pool] | None

    @classmethod
    def of(cls, work: Work, op: Op, rates: Rates) -> "Want":
        amounts = {r: float(amount) for r, amount in work.amounts.items() if amount > 0.0}
        shared = {Resource.LINK_H2D: rates.both_h2d, Resource.LINK_D2H: rates.both_d2h}
        alone = {r: rates.of(r) for r in amounts}
        speeds = _slowest(amounts, alone), _slowest(amounts, alone | shared)
        sharing = rates.sharing
        return cls(
            speeds=speeds,
            device=op.device,
            up=Resource.LINK_H2D in work.amounts,
            down=Resource.LINK_D2H in work.amounts,
            dram=amounts.get(Resource.DRAM, 0.0),
            flow_s=float(work.flow_s(rates)),
            drawn=None if sharing is None else pools.Flow(speeds[0], draws(op, work, sharing)),
        )

    @property
    def flows(self) -> bool:
        """Whether it takes any time."""
        return self.flow_s > _NEGLIGIBLE_S


def _slowest(amounts: Mapping[Resource, float], rates: Mapping[Resource, float]) -> float:
    return float(min((rates[r] / amount for r, amount in amounts.items()), default=0.0))


@dataclass(slots=True, eq=False)
class _Flow:
    """An operation that flows: the share that is left, and its speed in shares per second."""

    want: Want
    done: simpy.Event
    left: float = 1.0
    speed: float = 0.0


class Fabric:
    """Resources shared by the operations that flow at the same time.

    Cores, NVMe and device serve one stream each, so an operation's own speed limit is its slowest
    private resource. Host DRAM is shared by all of them: bytes per second are divided max-min fair,
    so no operation could get more without one with less getting even less. Where the machine says
    what several devices share (`zo2sim.simulate.sharing`), all of that is divided so; else every
    device has a link of its own.

    Speeds are set once for every instant at which flows begin or end, after all of them have; the
    same wants meet again for every block, and are then as fast as before.
    """

    def __init__(self, env: simpy.Environment, rates: Rates) -> None:
        self._env = env
        self._rates = rates
        self._speeds: dict[tuple[Want, ...], list[float]] = {}
        self._flows: list[_Flow] = []
        self._ending: list[_Flow] = []
        self._since = 0.0
        self._generation = 0
        self._settling = False
        self._end = env.event()  # of an instant, one after the other
        self._end._ok = True  # pyright: ignore[reportPrivateUsage]

    def run(self, want: Want) -> simpy.Event:
        """An event that fires when all that a kind of work wants has flowed."""
        self._advance()
        flow = _Flow(want, self._env.event())
        self._flows.append(flow)
        self._change()
        return flow.done

    def _advance(self) -> None:
        now = self._env.now
        elapsed = now - self._since
        if elapsed == 0.0:
            return
        for flow in self._flows:
            flow.left -= elapsed * flow.speed
        self._since = now

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
        flows = self._flows
        if not flows:
            return
        wants = tuple([flow.want for flow in flows])
        speeds = self._speeds.get(wants)
        if speeds is None:
            speeds = self._speeds[wants] = [*map(float, self._divided(wants))]
        first = inf
        for flow, speed in zip(flows, speeds, strict=True):
            flow.speed = speed
            first = min(first, flow.left / speed)
        first = max(0.0, first)
        self._ending = [flow for flow in flows if flow.left <= first * flow.speed * _TOGETHER]
        timeout = self._env.timeout(first, value=self._generation)
        timeout.callbacks.append(self._on_timeout)  # pyright: ignore[reportUnknownMemberType]

    def _on_timeout(self, timeout: simpy.Timeout) -> None:
        if timeout.value != self._generation:
            return  # the flows have changed since; a later timeout stands for them
        self._advance()
        ended = self._ending
        self._flows = [flow for flow in self._flows if flow not in ended]
        for flow in ended:
            flow.done.succeed()
        self._change()

    def _divided(self, wants: tuple[Want, ...]) -> list[float]:
        """Links, uplinks, sockets' memory and the interpreter, divided max-min fair at once."""
        sharing = self._rates.sharing
        if sharing is not None:
            drawn = tuple(want.drawn for want in wants if want.drawn is not None)
            room = capacities((pool for one in drawn for pool in one.amounts), sharing)
            return pools.rates(drawn, room)
        up = {want.device for want in wants if want.up}
        both_ways = {want.device for want in wants if want.down and want.device in up}
        speeds = [want.speeds[want.device in both_ways] for want in wants]
        self._share_dram(wants, speeds)
        return speeds

    def _share_dram(self, wants: tuple[Want, ...], speeds: list[float]) -> None:
        """Slow down those that want more of it than there is."""
        users = [number for number, want in enumerate(wants) if want.dram > 0.0]
        dram = self._rates.dram
        if sum(speeds[n] * wants[n].dram for n in users) < pools.PLENTY * dram:
            return  # as `pools` says, too: most of the time
        drawn = [pools.Flow(speeds[n], {Resource.DRAM: wants[n].dram}) for n in users]
        for n, speed in zip(users, pools.rates(drawn, {Resource.DRAM: dram}), strict=True):
            speeds[n] = speed
