"""Operations that flow at the same time, and how fast each of them does."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

from zo2sim.schedule.ops import Op
from zo2sim.simulate import pools
from zo2sim.simulate.clock import Clock, Event
from zo2sim.simulate.sharing import Pool, capacities, draws
from zo2sim.simulate.work import Rates, Resource, Work

_NEGLIGIBLE_S = 1e-15  # a flow this short is over at once: its speed would overflow
_TOGETHER = 1 + 1e-12  # flows whose ends differ by rounding alone end together


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


class _Flow(Event):
    """The end of an operation that flows; the share that is left, and its speed in shares per
    second."""

    __slots__ = ("left", "speed", "want")

    def __init__(self, want: Want) -> None:
        super().__init__()
        self.want = want
        self.left = 1.0
        self.speed = 0.0


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

    def __init__(self, clock: Clock, rates: Rates) -> None:
        self._clock = clock
        self._rates = rates
        self._speeds: dict[tuple[Want, ...], list[float]] = {}
        self._flows: list[_Flow] = []
        self._since = 0.0
        self._ending: list[_Flow] = []

    def run(self, want: Want) -> Event:
        """An event that happens when all that a kind of work wants has flowed."""
        self._advance()
        flow = _Flow(want)
        self._flows.append(flow)
        self._change()
        return flow

    def _advance(self) -> None:
        now = self._clock.now
        elapsed = now - self._since
        if elapsed == 0.0:
            return
        for flow in self._flows:
            flow.left -= elapsed * flow.speed
        self._since = now

    def _change(self) -> None:
        """The flows are others than they were: their speeds are set at the end of this instant."""
        self._ending = []
        self._clock.last(self._settle)

    def _settle(self) -> None:
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
        ending = [flow for flow in flows if flow.left <= first * flow.speed * _TOGETHER]
        self._ending = ending
        self._clock.after(first, partial(self._end, ending))

    def _end(self, ending: list[_Flow]) -> None:
        if ending is not self._ending:
            return  # the flows have changed since; a later event stands for them
        self._advance()
        self._flows = [flow for flow in self._flows if flow not in ending]
        for flow in ending:
            self._clock.soon(flow)
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
