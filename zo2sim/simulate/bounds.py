"""Lower bounds: no schedule of this traffic beats the busiest resource, nor its own longest chain.

Every prediction stands beside its bound, and the bound names what binds.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from zo2sim.schedule.ops import Op, Program, Stream
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Rates, Resource, Work

STREAM_RESOURCE = {
    Stream.H2D: Resource.LINK_H2D,
    Stream.COMPUTE: Resource.COMPUTE,
    Stream.D2H: Resource.LINK_D2H,
    Stream.HOST: Resource.CPU,
    Stream.NVME_READ: Resource.NVME_READ,
    Stream.NVME_WRITE: Resource.NVME_WRITE,
}
BOTH_WAYS = "link_both_ways"
DEPENDENCIES = "dependencies"
PLAIN_WORDS: Mapping[str, str] = {
    Resource.COMPUTE: "compute",
    Resource.LINK_H2D: "the link, busy with uploads",
    Resource.LINK_D2H: "the link, busy with downloads",
    BOTH_WAYS: "the link, busy both ways",
    Resource.DRAM: "the bandwidth of host memory",
    Resource.CPU: "the host's cores",
    Resource.NVME_READ: "reading from the drive",
    Resource.NVME_WRITE: "writing to the drive",
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

    Streams run one operation at a time, so each is busy for the sum of its durations; both
    directions of a link share what the link gives both ways; DRAM serves every byte once;
    and the chain of dependencies takes its time even when nothing contends.
    """
    steps = program.period.steps
    works = [(op, work_of(op)) for op in program.period.ops]
    limits: defaultdict[str, float] = defaultdict(float)
    totals: defaultdict[Resource, float] = defaultdict(float)
    for op, work in works:
        limits[STREAM_RESOURCE[op.stream].value] += float(work.alone_s(rates)) / steps
        for resource, amount in work.amounts.items():
            totals[resource] += float(amount) / steps
    limits[BOTH_WAYS] = both_ways_s(totals[Resource.LINK_H2D], totals[Resource.LINK_D2H], rates)
    limits[Resource.DRAM.value] = totals[Resource.DRAM] / rates.dram
    limits[DEPENDENCIES] = _chain_s(chain or chain_of(program), work_of, rates)
    return Bound(limits_s=_named_after_resources(limits))


def both_ways_s(up_bytes: float, down_bytes: float, rates: Rates) -> float:
    """Least time to move bytes up and down when a link is slower both ways than one way.

    The linear programme over three modes (up only, down only, both) has its optimum at an end:
    as much time both ways as one direction lasts, or none where that mode moves less in total.
    """
    shared = min(up_bytes / rates.both_h2d, down_bytes / rates.both_d2h)
    if rates.both_h2d / rates.link_h2d + rates.both_d2h / rates.link_d2h < 1.0:
        shared = 0.0
    up_left = (up_bytes - shared * rates.both_h2d) / rates.link_h2d
    down_left = (down_bytes - shared * rates.both_d2h) / rates.link_d2h
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
