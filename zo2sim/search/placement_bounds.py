"""Bounds of many placements without building their programs: what a period moves and computes.

A block's operations are the same whichever blocks are beside it, and over a period every streamed
block goes through the same steps of its write-back cycle. So a model of one block, streamed or
resident, tells what any number of them ask of each stream and resource. The schedule still exists
once: the counts are read off the policy's own program for that one block.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from zo2sim.cost import CostModel
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Layout, Shape, build
from zo2sim.predict.case import Case
from zo2sim.schedule.ops import Buffer, BufferSpace, Op, Stream
from zo2sim.simulate.bounds import both_ways_s
from zo2sim.simulate.steady import Floats
from zo2sim.simulate.work import Resource, sees_late

_STREAMS = tuple(Stream)
_FLOWS = (Resource.LINK_H2D, Resource.LINK_D2H, Resource.DRAM)
_BY_SLOT = (BufferSpace.SLOT, BufferSpace.STAGE_IN, BufferSpace.STAGE_OUT, BufferSpace.WIRE)
_BUSY = slice(0, len(_STREAMS))
_UP, _DOWN, _DRAM = (len(_STREAMS) + i for i in range(3))
_STAYS = slice(_DRAM + 1, _DRAM + 1 + len(_BY_SLOT))
_COLUMNS = _DRAM + 1 + len(_BY_SLOT)
_OF_DEVICES = [
    *(_STREAMS.index(s) for s in (Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.PEER)),
    *(_UP, _DOWN),
]
"""What every device has of its own: the busiest one has at least the mean."""


class Visited(NamedTuple):
    """Operations of a period by who they are for: the ends of the model, and one block."""

    ends: tuple[Op, ...]
    block: tuple[Op, ...]


def bounds_s(case: Case, *, residents: Sequence[int], slots: Sequence[int]) -> Floats:
    """Lower bounds of the steady step, (residents, slots), for the case's plan with each of them.

    The busiest stream; both directions of the link; DRAM; and slots: each holds one tenant at a
    time, from the start of its upload to the end of the last operation that touches it, so the
    sum of all stays takes at least as long as it does when every slot is always taken. None of
    them exceeds `zo2sim.simulate.bounds.bound`'s, or the simulation.
    """
    cost = case.cost
    rates = cost.rates
    totals = _totals(case, cost, residents) / case.plan.write_back_every
    totals[:, _OF_DEVICES] /= case.plan.devices
    both = [both_ways_s(up, down, rates.link) for up, down in totals[:, [_UP, _DOWN]].tolist()]
    flat = np.maximum(totals[:, _BUSY].max(axis=1), np.array(both))
    flat = np.maximum(flat, totals[:, _DRAM] / rates.all_dram)
    stays = totals[:, _STAYS].max(axis=1)
    return np.maximum(flat[:, None], stays[:, None] / _slots_in_use(case, residents, slots))


def _slots_in_use(case: Case, residents: Sequence[int], slots: Sequence[int]) -> Floats:
    """Those that blocks are dealt to, on all devices of a ring."""
    streamed = case.model.num_blocks - np.array(residents)
    places = np.array(slots) * (case.plan.devices if case.plan.placement == "ring" else 1)
    return np.maximum(np.minimum(places[None, :], streamed[:, None]), 1).astype(float)


def _totals(case: Case, cost: CostModel, residents: Sequence[int]) -> Floats:
    """Per period, (residents, columns): seconds per stream, bytes per flow, seconds in slots."""
    alike = case.model.first_alike
    classes = sorted(set(alike))
    dealt = Plan(devices=case.plan.devices, placement=case.plan.placement)
    streamed = _counts(case.model, dealt, tuple(residents)) * case.plan.policy.traits.streams
    here = _visited(case.plan, case.recipe, streamed=True)
    stay = _visited(case.plan, case.recipe, streamed=False)
    moving = np.stack([_priced(here.block, cost, block) for block in classes])
    staying = np.stack([_priced(stay.block, cost, block) for block in classes])
    everyone = np.array([alike.count(block) for block in classes])
    return _priced(here.ends, cost) + streamed @ moving + (everyone - streamed) @ staying


@lru_cache(maxsize=64)
def _counts(model: Model, dealt: Plan, residents: tuple[int, ...]) -> Floats:
    """Streamed blocks of each kind, (residents, kinds), under a policy that streams."""
    classes = sorted(set(model.first_alike))
    counts = np.zeros((len(residents), len(classes)))
    for row, number in enumerate(residents):
        plan = replace(dealt, resident_blocks=number)
        layout = Layout(shape=Shape.of(model), plan=plan, recipe=Recipe())
        found = Counter(model.first_alike[block] for block in layout.streamed)
        counts[row] = [found[block] for block in classes]
    return counts


def _visited(plan: Plan, recipe: Recipe, *, streamed: bool) -> Visited:
    stays = plan.policy.traits.streams and not streamed
    one = replace(plan, num_slots=1, resident_blocks=int(stays))
    return _visited_once(one, recipe.without_load(one))


@lru_cache(maxsize=2048)
def _visited_once(plan: Plan, recipe: Recipe) -> Visited:
    ops = build(Shape(num_blocks=1), plan, recipe).period.ops
    return Visited(
        ends=tuple(op for op in ops if op.unit is None or op.unit < 0),
        block=tuple(op for op in ops if op.unit == 0),
    )


def _priced(ops: Sequence[Op], cost: CostModel, block: int | None = None) -> Floats:
    """What operations ask for, those of the one block priced as those of ``block``."""
    mine = [op if block is None else replace(op, unit=block) for op in ops]
    total = np.zeros(_COLUMNS)
    for op in mine:
        work = cost(op)
        total[_STREAMS.index(op.stream)] += float(work.alone_s(cost.rates))
        for column, resource in zip((_UP, _DOWN, _DRAM), _FLOWS, strict=True):
            total[column] += float(work.amounts.get(resource, 0.0))
    for column, space in enumerate(_BY_SLOT, start=_DRAM + 1):
        for stay in _stays(mine, Buffer(space, 0)):
            total[column] += _length_s(stay, Buffer(space, 0), cost)
    return total


def _stays(ops: Sequence[Op], buffer: Buffer) -> Iterator[list[Op]]:
    """Operations that touch a buffer, tenant by tenant: a write that reads nothing is a new one."""
    stay: list[Op] = []
    for op in ops:
        if buffer in op.writes and buffer not in op.reads:
            yield stay
            stay = []
        if buffer in op.writes or buffer in op.reads:
            stay.append(op)
    yield stay


def _length_s(stay: Sequence[Op], buffer: Buffer, cost: CostModel) -> float:
    """Least time from a tenant's arrival until nobody touches it.

    Operations of one stream, and those of which one writes the buffer, follow each other.
    """
    ends: list[float] = []
    for op in stay:
        writes = buffer in op.writes
        before = (
            end + sees_late(op.track, other.track) * float(cost(other).late_s)
            for end, other in zip(ends, stay, strict=False)
            if writes or buffer in other.writes or other.track == op.track
        )
        ends.append(max(before, default=0.0) + float(cost(op).alone_s(cost.rates)))
    gaps = (float(cost(op).gap_s) for op in stay)
    return max((end - gap for end, gap in zip(ends, gaps, strict=True)), default=0.0)
