"""The vectorised fast path: many plans at once, where nothing contends.

It walks the same unrolled program as the simulator (`zo2sim.simulate.uncontended`), with one entry
per plan. Plans that share a program differ only in durations, so a program is walked once for all
of them. The result equals the discrete-event result where operations do not slow each other; where
they do it is a lower bound (`contends` tells which).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from zo2sim.cost import CostModel, Load, cost_key
from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.predict.case import Case
from zo2sim.schedule.ops import Kind, Program
from zo2sim.simulate.steady import Floats, Numbers
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Rates, Resource, Work

_ON_DEVICE = (Kind.BUILD, Kind.FORWARD, Kind.UPDATE)


def step_s(cases: Sequence[Case], *, free: Collection[Kind] = ()) -> Floats:
    """Steady step time of every case, (cases,), as if nothing contended, and kinds that are
    ``free`` took no time.

    Raises ``ValueError`` when a case's combination is refused.
    """
    result = np.empty(len(cases))
    for numbers in _grouped(_structures(cases)).values():
        members = [cases[i] for i in numbers]
        walk = walk_of(members[0])
        durations, late = _times(walk, members)
        durations[[op.kind in free for op in walk.classes]] = 0.0
        result[numbers] = walk.step_s(durations, late)
    return result


def contends(case: Case) -> bool:
    """Whether operations of the case may slow each other, so that `step_s` is only a bound."""
    rates = case.cost.rates
    if rates.sharing is not None:
        return True  # uplinks, memory, the interpreter: rarely is none of them short
    work_of = case.cost
    used = {(op.kind, op.device): work_of(op) for op in case.program.period.ops}
    kinds = {kind for kind, _ in used}
    both_ways = Kind.H2D in kinds and Kind.D2H in kinds
    wanted = sum(_dram_rate(work, rates) for work in used.values())
    return (both_ways and not rates.duplex) or bool(wanted > rates.dram)


def shared_program(case: Case) -> Program:
    """The case's program, built once for all cases that differ in numbers only."""
    return walk_of(case).program


def _dram_rate(work: Work, rates: Rates) -> float:
    """Bytes per second that an operation draws from DRAM at its own full speed."""
    amount = work.amounts.get(Resource.DRAM, 0.0)
    if amount == 0.0:
        return 0.0
    limits = [a / rates.of(r) for r, a in work.amounts.items() if r is not Resource.DRAM]
    slowest = max(limits, default=0.0)
    return amount / slowest if slowest > 0.0 else float("inf")


def _structures(cases: Sequence[Case]) -> list[object]:
    """Cases of equal structure share a program; batch, samples and machine are only numbers.

    Plans and models are hashed once per object, as many cases share them.
    """
    plans = _numbers(case.plan for case in cases)
    models = _numbers(case.model for case in cases)
    recipes = (case.recipe for case in cases)
    return [
        (
            *(m, p, case.workload.once, r.trainable, r.noise, r.perturbation),
            *(r.storage_dtype, r.wire_dtype, r.compute_dtype),
            case.plan.devices > 1 and r.samples > 1,
        )
        for m, p, r, case in zip(models, plans, recipes, cases, strict=True)
    ]


def _numbers(things: Iterable[object]) -> list[int]:
    """Equal things get equal numbers."""
    equal: dict[object, int] = {}
    known: dict[int, int] = {}
    numbers: list[int] = []
    for thing in things:
        number = known.get(id(thing))
        if number is None:
            number = known[id(thing)] = equal.setdefault(thing, len(equal))
        numbers.append(number)
    return numbers


def _grouped(keys: Iterable[object]) -> dict[object, list[int]]:
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        groups[key].append(number)
    return groups


def walk_of(case: Case) -> Walk:
    """The case's program as arithmetic, shared as `shared_program` is: blocks in eight bits and in
    four are computed with alike, so their programs are one."""
    recipe = case.recipe.without_load(case.plan)
    if recipe.storage_dtype.is_integer and not recipe.recoded:
        recipe = replace(recipe, storage_dtype=Dtype.INT8)
    return _shared_walk(case.model, case.plan, recipe, case.workload.once)


@lru_cache(maxsize=512)
def _shared_walk(model: Model, plan: Plan, recipe: Recipe, once: bool) -> Walk:
    """The walk of every case that differs in numbers only."""
    program = build(Shape.of(model), plan, recipe)
    return Walk(
        program.evaluation if once else program, partial(cost_key, model, plan=plan), once=once
    )


def _times(walk: Walk, cases: Sequence[Case]) -> tuple[Floats, Floats]:
    """Durations alone and lateness, (classes, plans): one vectorised look-up per machine.

    What only the device decides is looked up once for machines that share their device.
    """
    load = _joint_load(cases)
    by_machine = _joint_costs(cases, load, lambda case: case.machine)
    by_device = _joint_costs(cases, load, _computes)
    durations, late = np.empty((2, len(walk.classes), len(cases)))
    for row, op in enumerate(walk.classes):
        for numbers, cost in by_device if op.kind in _ON_DEVICE else by_machine:
            work = cost(op)
            durations[row, numbers] = work.alone_s(cost.rates)
            late[row, numbers] = work.late_s
    return durations, late


def _computes(case: Case) -> object:
    """What decides how long the case computes: its device, or a host whose cores are the device."""
    return case.machine.device if case.machine.cpu is None else case.machine


def _joint_load(cases: Sequence[Case]) -> Load:
    """How much data each case processes, as arrays."""
    recipes = [case.recipe for case in cases]
    return Load(
        batch=np.array([r.batch for r in recipes], dtype=np.float64),
        sequence=np.array([r.sequence for r in recipes], dtype=np.float64),
        microbatches=np.array([r.microbatches for r in recipes], dtype=np.float64),
        samples=np.array([r.samples for r in recipes], dtype=np.float64),
    )


def _joint_costs(
    cases: Sequence[Case], load: Load, owner: Callable[[Case], object]
) -> list[tuple[Numbers, CostModel]]:
    """A cost model for each group of cases whose owner is the very same object.

    Such cases differ only in how much data they process.
    """
    owners = np.fromiter((id(owner(case)) for case in cases), dtype=np.int64, count=len(cases))
    groups = [np.flatnonzero(owners == one) for one in sorted(set(owners.tolist()))]
    return [(group, _joint_cost(cases[int(group[0])], load.of_plans(group))) for group in groups]


def _joint_cost(case: Case, load: Load) -> CostModel:
    return CostModel(setting=replace(case.cost.setting, load=load))
