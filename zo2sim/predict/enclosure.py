"""Steps of one plan on many machines and loads at once, each between two ends that are proved.

A walk of the program (`zo2sim.simulate.uncontended`) is a lower end of the simulated step, and so
is what every resource takes (`zo2sim.simulate.bounds`). The same walk with every copy as slow as
contention ever makes it is an upper end: operations of a stream keep their order, so none of them
ends earlier where another takes longer. The ends meet wherever nothing contends, and wherever what
binds is not slowed, so most cases are known without a simulation; several devices that reach each
other through the host contend more (`zo2sim.predict.pooled`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from zo2sim.cost import CostModel, Load, Setting
from zo2sim.machines.machine import Machine
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.pooled import Alike, Pooled, kinds
from zo2sim.predict.vectorised import walk_of
from zo2sim.schedule.ops import Kind, Op, Stream
from zo2sim.simulate.bounds import BOTH_WAYS, STREAM_RESOURCE, UPLINK, both_ways_s
from zo2sim.simulate.steady import Floats
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Number, Rates, Resource, Work

_COPIES = frozenset((Kind.H2D, Kind.D2H))


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """Seconds per steady step, (machines, loads): the simulated one lies between the two ends.

    ``limits_s`` is what every resource alone takes, as `zo2sim.simulate.bounds.bound` counts it.
    """

    lower_s: Floats
    upper_s: Floats
    limits_s: Mapping[str, Floats]


def beside(parts: Sequence[Enclosure]) -> Enclosure:
    """Enclosures of one plan on the same machines, their loads one after the other."""
    return Enclosure(
        lower_s=np.concatenate([part.lower_s for part in parts], axis=1),
        upper_s=np.concatenate([part.upper_s for part in parts], axis=1),
        limits_s={
            name: np.concatenate([part.limits_s[name] for part in parts], axis=1)
            for name in parts[0].limits_s
        },
    )


def enclosures(
    model: Model,
    recipe: Recipe,
    plans: Iterable[Plan],
    machines: Sequence[Machine],
    microbatches: Sequence[int],
) -> Iterator[Enclosure]:
    """The steps of every plan, with each number of microbatches on each machine.

    Raises ``ValueError`` for a machine whose cores are its device, where what an operation costs
    depends on more of the plan than is shared here, and as `zo2sim.predict.predict.predict` does.
    """
    for machine in machines:
        if machine.cpu is not None:
            raise ValueError(f"machines must have a card; {machine.name} computes on its cores")
    load = Load(
        batch=recipe.batch,
        sequence=recipe.sequence,
        microbatches=np.array(microbatches, dtype=np.float64),
        samples=recipe.samples,
    )
    shared: dict[Plan, list[CostModel]] = {}
    for plan in plans:
        base = Case(model=model, machine=machines[0], plan=plan, recipe=recipe)
        key = replace(plan, num_slots=1, resident_blocks=0, write_back_every=1, tier="ram")
        if key not in shared:
            shared[key] = [_cost(replace(base, machine=machine), load) for machine in machines]
        yield _enclosure(plan, walk_of(base), shared[key], len(microbatches))


def _cost(case: Case, load: Load) -> CostModel:
    return CostModel(
        setting=Setting(
            model=case.model,
            machine=case.machine,
            plan=case.plan,
            recipe=case.recipe,
            load=load,
        )
    )


def _enclosure(plan: Plan, walk: Walk, costs: Sequence[CostModel], loads: int) -> Enclosure:
    alone, slowed, late = np.empty((3, len(walk.classes), len(costs), loads))
    all_kinds = kinds(walk)
    shared: list[Mapping[str, Number]] = []
    for column, cost in enumerate(costs):
        works, rates = [cost(op) for op in walk.classes], cost.rates
        for row, work in enumerate(works):
            alone[row, column] = work.alone_s(rates)
            late[row, column] = work.late_s
        if rates.sharing is None:
            slow = _slowest(rates, plan, walk, works)
            shared.append(_totals_s(all_kinds, works, rates))
            most = [work.alone_s(slow) for work in works]
        else:
            pooled = Pooled(
                kinds=all_kinds, works=works, rates=rates, sharing=rates.sharing, loads=loads
            )
            shared.append(pooled.limits_s())
            most = pooled.slowest_s()
        for row, seconds in enumerate(most):
            slowed[row, column] = seconds
    limits = _limits_s(all_kinds, alone, shared)
    walked = _walked_s(walk, (alone, slowed), late)
    lower = np.maximum.reduce([walked[0], *limits.values()])
    return Enclosure(lower_s=lower, upper_s=np.maximum(walked[1], lower), limits_s=limits)


def _walked_s(walk: Walk, durations: Sequence[Floats], late: Floats) -> Floats:
    """Step times, (durations, machines, loads), in one pass."""
    shape = late.shape[1:]
    flat = [np.reshape(each, (len(walk.classes), -1)) for each in durations]
    seen = np.reshape(late, (len(walk.classes), -1))
    steps = walk.step_s(np.concatenate(flat, axis=1), np.concatenate([seen] * len(flat), axis=1))
    return steps.reshape(len(flat), *shape)


def _slowest(rates: Rates, plan: Plan, walk: Walk, works: Sequence[Work]) -> Rates:
    """What a copy has at least, whatever runs beside it.

    With one slot an upload waits until the download before it has left the slot, so the two never
    meet. Flows that together want more than DRAM has get equal parts of it, or all that they want.
    """
    kinds = {op.kind for op in walk.classes}
    if kinds >= _COPIES and plan.num_slots > 1:
        rates = replace(rates, link_h2d=rates.both_h2d, link_d2h=rates.both_d2h)
    wanted: defaultdict[Stream, float] = defaultdict(float)
    for op, work in zip(walk.classes, works, strict=True):
        wanted[op.stream] = max(wanted[op.stream], _dram_rate(work, rates))
    takers = sum(rate > 0.0 for rate in wanted.values())
    enough = sum(wanted.values()) <= rates.dram
    return rates if enough else replace(rates, dram=rates.dram / takers)


def _dram_rate(work: Work, rates: Rates) -> float:
    amount = work.amounts.get(Resource.DRAM)
    return 0.0 if amount is None else float(np.max(amount / work.flow_s(rates)))


def _totals_s(
    all_kinds: Sequence[Alike], works: Sequence[Work], rates: Rates
) -> Mapping[str, Number]:
    """What both ways of one device's link, and the host's memory, take for a step."""

    def total(resource: Resource) -> float:
        amounts = (float(works[kind.row].amounts.get(resource, 0.0)) for kind in all_kinds)
        return sum(kind.per_step * one for kind, one in zip(all_kinds, amounts, strict=True))

    up, down = total(Resource.LINK_H2D), total(Resource.LINK_D2H)
    return {
        BOTH_WAYS: both_ways_s(up, down, rates.link),
        Resource.DRAM.value: total(Resource.DRAM) / rates.dram,
    }


def _limits_s(
    all_kinds: Sequence[Alike], alone: Floats, shared: Sequence[Mapping[str, Number]]
) -> dict[str, Floats]:
    """Of every stream what the busiest device has, and of what is shared what all have."""
    limits = {str(r): np.zeros(alone.shape[1:]) for r in STREAM_RESOURCE.values()}
    for device in {kind.op.device for kind in all_kinds}:
        busy = {name: np.zeros(alone.shape[1:]) for name in limits}
        for kind in all_kinds:
            if kind.op.device == device:
                busy[_busy(kind.op)] += kind.per_step * alone[kind.row]
        limits = {name: np.maximum(limits[name], seconds) for name, seconds in busy.items()}
    for name in {BOTH_WAYS, Resource.DRAM.value, UPLINK, Resource.ISSUE.value}.union(*shared):
        own = [one.get(name, 0.0) + np.zeros(alone.shape[2]) for one in shared]
        limits[name] = np.stack(own)
    return limits


def _busy(op: Op) -> str:
    return str(STREAM_RESOURCE[op.stream])
