"""Lower bounds: no schedule of this traffic beats the busiest resource, nor its own longest chain.

Every prediction stands beside its bound, and the bound names what binds.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from zo2sim.schedule.ops import Op, Program, Stream, Track
from zo2sim.simulate.sharing import Pool, Shared, capacities, draws
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Rates, Resource, Sharing, TwoWays, Work

STREAM_RESOURCE = {
    Stream.H2D: Resource.LINK_H2D,
    Stream.COMPUTE: Resource.COMPUTE,
    Stream.D2H: Resource.LINK_D2H,
    Stream.HOST: Resource.CPU,
    Stream.NVME_READ: Resource.NVME_READ,
    Stream.NVME_WRITE: Resource.NVME_WRITE,
    Stream.PEER: Resource.PEER,
}
BOTH_WAYS = "link_both_ways"
DEPENDENCIES = "dependencies"
UPLINK = "uplink"
PLAIN_WORDS: Mapping[str, str] = {
    Resource.COMPUTE: "compute",
    Resource.LINK_H2D: "the link, busy with uploads",
    Resource.LINK_D2H: "the link, busy with downloads",
    BOTH_WAYS: "the link, busy both ways",
    Resource.DRAM: "the bandwidth of host memory",
    Resource.CPU: "the host's cores",
    Resource.NVME_READ: "reading from the drive",
    Resource.NVME_WRITE: "writing to the drive",
    Resource.PEER: "copies between devices",
    Resource.ISSUE: "the interpreter that launches kernels for all devices",
    Resource.CORES: "the cores that compute for all devices",
    UPLINK: "the uplink that devices share",
    DEPENDENCIES: "waiting for each other",
}
"""Limits of a step by name, for who does not know the names."""
ALIKE = 0.02
"""Relative difference below which two limits bind alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Seconds per step that each limit alone would take, and the largest of them."""

    limits_s: Mapping[str, float]

    @property
    def step_s(self) -> float:
        """No step of this schedule can be faster in the steady state."""
        return max(self.limits_s.values(), default=0.0)

    @property
    def binding(self) -> str:
        """The limit that decides; dependencies only where they exceed every resource."""
        return max(self.limits_s, key=lambda name: self.limits_s[name], default="nothing")

    @property
    def binds(self) -> tuple[str, ...]:
        """What to change: the limits within `ALIKE` of the one that decides, resources first.

        Who changes one of these alone gains no more than that. The largest resource comes first,
        dependencies last: they follow from resources that are as busy.
        """
        near = [name for name, s in self.limits_s.items() if s * (1.0 + ALIKE) >= self.step_s]
        found = sorted(near, key=lambda name: (name == DEPENDENCIES, -self.limits_s[name]))
        return tuple(found) or ("nothing",)

    @property
    def words(self) -> tuple[str, ...]:
        """`binds` in plain words."""
        return tuple(PLAIN_WORDS.get(name, name) for name in self.binds)


def chain_of(program: Program) -> Walk:
    """A program's chain of dependencies, for `bound` on many machines."""
    return Walk(program, lambda op: (op.name, op.records))


def bound(
    program: Program,
    work_of: Callable[[Op], Work],
    rates: Rates,
    *,
    chain: Walk | None = None,
) -> Bound:
    """The lower bound of a program's steady step, or of a program that runs once; ``chain`` is its
    `chain_of`, or any walk of it whose operations of a class cost the same, if known.

    A track runs one operation at a time, so each is busy for the sum of its durations, and of
    several devices the busiest one decides; both directions of a link share what the link gives
    both ways; DRAM serves every byte once, whoever asks; and the chain of dependencies takes its
    time even when nothing contends.
    """
    steps = program.period.steps
    busy: defaultdict[Track, float] = defaultdict(float)
    totals: defaultdict[tuple[int, Resource], float] = defaultdict(float)
    works = [work_of(op) for op in program.period.ops]
    alone_s = {id(work): float(work.alone_s(rates)) for work in {id(w): w for w in works}.values()}
    for op, work in zip(program.period.ops, works, strict=True):
        busy[op.track] += alone_s[id(work)] / steps
        for resource, amount in work.amounts.items():
            totals[op.device, resource] += float(amount) / steps
    devices = sorted({track.device for track in busy})
    limits: defaultdict[str, float] = defaultdict(float)
    for track, seconds in busy.items():
        name = STREAM_RESOURCE[track.stream].value
        limits[name] = max(limits[name], seconds)
    both_ways = (
        both_ways_s(totals[d, Resource.LINK_H2D], totals[d, Resource.LINK_D2H], rates.link)
        for d in devices
    )
    limits[BOTH_WAYS] = max(both_ways, default=0.0)
    limits[Resource.DRAM.value] = sum(totals[d, Resource.DRAM] for d in devices) / rates.dram
    if rates.sharing is not None:
        limits |= _shared_s(program, work_of, rates, rates.sharing)
    limits[DEPENDENCIES] = _chain_s(chain or chain_of(program), work_of, rates)
    return Bound(limits_s=_named_after_resources(limits))


def _shared_s(
    program: Program, work_of: Callable[[Op], Work], rates: Rates, sharing: Sharing
) -> dict[str, float]:
    """Seconds per step of the busiest pool of each kind that several devices share.

    Cores are drawn for as long as it takes with nobody else, at least: alone nothing waits.
    """
    totals: defaultdict[Pool, float] = defaultdict(float)
    for op in program.period.ops:
        for part in work_of(op).parts:
            alone_s = float(part.flow_s(rates))
            for pool, amount in draws(op, part, sharing).items():
                least = min(amount, alone_s) if pool.kind is Shared.CORES else amount
                totals[pool] += least / program.period.steps
    return pooled_s(totals, sharing)


def pooled_s(totals: Mapping[Pool, float], sharing: Sharing) -> dict[str, float]:
    """Seconds that the busiest pool of each kind takes for all that is drawn of it, by limit."""
    limits: defaultdict[str, float] = defaultdict(float)
    for pool in totals:
        limit = _NAMES[pool.kind]
        limits[limit] = max(limits[limit], _pool_s(pool, totals, sharing))
    return dict(limits)


def _pool_s(pool: Pool, totals: Mapping[Pool, float], sharing: Sharing) -> float:
    if pool.kind not in (Shared.LINK, Shared.UPLINK):
        return totals[pool] / capacities((pool, pool), sharing)[pool]
    up, down = (totals.get(pool._replace(up=way), 0.0) for way in (True, False))
    return both_ways_s(up, down, sharing.link if pool.kind is Shared.LINK else sharing.uplink)


_NAMES: Mapping[Shared, str] = {
    Shared.LINK: BOTH_WAYS,
    Shared.UPLINK: UPLINK,
    Shared.DRAM: Resource.DRAM.value,
    Shared.ISSUE: Resource.ISSUE.value,
    Shared.CORES: Resource.CORES.value,
}


def both_ways_s(up_bytes: float, down_bytes: float, link: TwoWays) -> float:
    """Least time to move bytes up and down when a link is slower both ways than one way.

    The linear programme over three modes (up only, down only, both) has its optimum at an end:
    as much time both ways as one direction lasts, or none where that mode moves less in total.
    """
    shared = min(up_bytes / link.both_h2d, down_bytes / link.both_d2h)
    if link.both_h2d / link.h2d + link.both_d2h / link.d2h < 1.0:
        shared = 0.0
    up_left = (up_bytes - shared * link.both_h2d) / link.h2d
    down_left = (down_bytes - shared * link.both_d2h) / link.d2h
    return shared + max(up_left, 0.0) + max(down_left, 0.0)


def _chain_s(chain: Walk, work_of: Callable[[Op], Work], rates: Rates) -> float:
    works = [work_of(op) for op in chain.classes]
    durations = np.array([[float(work.alone_s(rates))] for work in works])
    late = np.array([[float(work.late_s)] for work in works])
    return float(chain.step_s(durations, late)[0])


def _named_after_resources(limits: Mapping[str, float]) -> dict[str, float]:
    """Both-ways traffic and dependencies are named only where they bind beyond one resource."""
    single = {k: v for k, v in limits.items() if k not in (BOTH_WAYS, DEPENDENCIES) and v > 0.0}
    result = dict(single)
    links = max(single.get("link_h2d", 0.0), single.get("link_d2h", 0.0))
    if limits[BOTH_WAYS] > links * (1 + 1e-9):
        result[BOTH_WAYS] = limits[BOTH_WAYS]
    if limits[DEPENDENCIES] > max(result.values(), default=0.0) * (1 + 1e-9):
        result[DEPENDENCIES] = limits[DEPENDENCIES]
    return result
