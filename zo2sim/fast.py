"""The vectorised fast path: many plans at once, where nothing contends.

It walks the same unrolled program as the simulator, but each operation's start and end is an
array with one entry per plan. Plans that share a program differ only in durations, so a program
is walked once for all of them. The result equals the discrete-event result where operations do
not slow each other; where they do, it is a lower bound (`contends` tells which).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zo2sim.case import Case
from zo2sim.cost import CostModel, Load
from zo2sim.policies import Shape, build
from zo2sim.resources import Rates, Resource, Work
from zo2sim.schedule import Kind, Op, Program
from zo2sim.unroll import unroll

PERIODS = 4
_CHUNK = 1024  # plans per walk: the ends of two periods then stay in cache

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Walk:
    """A program reduced to arithmetic: per operation its cost class and what it waits for."""

    classes: tuple[Op, ...]
    class_of: tuple[int, ...]
    deps: tuple[tuple[int, ...], ...]
    losses: tuple[int, ...]
    steps_per_period: int

    @classmethod
    def of(cls, program: Program, like: Callable[[Op], object], periods: int = PERIODS) -> "Walk":
        """``like`` maps operations of equal cost to equal keys."""
        items = unroll(program, periods=periods)
        keys: dict[object, int] = {}
        classes: list[Op] = []
        class_of: list[int] = []
        for item in items:
            number = keys.setdefault(like(item.op), len(keys))
            if number == len(classes):
                classes.append(item.op)
            class_of.append(number)
        return cls(
            classes=tuple(classes),
            class_of=tuple(class_of),
            deps=tuple(item.deps for item in items),
            losses=tuple(i for i, item in enumerate(items) if item.op.kind is Kind.LOSS),
            steps_per_period=program.period.steps,
        )

    def ends_s(self, durations: Floats) -> Floats:
        """End of every operation, (operations, plans), from durations (classes, plans)."""
        ends = np.empty((len(self.class_of), durations.shape[1]))
        for number, (cost, deps) in enumerate(zip(self.class_of, self.deps, strict=True)):
            row = ends[number]
            if not deps:
                row[:] = durations[cost]
            elif len(deps) == 1:
                np.add(ends[deps[0]], durations[cost], out=row)
            else:
                np.maximum(ends[deps[0]], ends[deps[1]], out=row)
                for dep in deps[2:]:
                    np.maximum(row, ends[dep], out=row)
                row += durations[cost]
        return ends

    def step_s(self, durations: Floats) -> Floats:
        """Mean step time of the last period, (plans,), from durations (classes, plans)."""
        last, before = self.losses[-1], self.losses[-1 - self.steps_per_period]
        parts = [
            (ends[last] - ends[before]) / self.steps_per_period
            for ends in map(self.ends_s, _chunks(durations))
        ]
        return np.concatenate(parts)


def step_s(cases: Sequence[Case]) -> Floats:
    """Steady step time of every case, (cases,), as if nothing contended.

    Raises ``ValueError`` when a case's combination is refused.
    """
    result = np.empty(len(cases))
    for numbers in _grouped(cases, _structure).values():
        members = [cases[i] for i in numbers]
        result[numbers] = _walk(members[0]).step_s(_durations(members))
    return result


def contends(case: Case) -> bool:
    """Whether operations of the case may slow each other, so that `step_s` is only a bound."""
    rates = case.cost.rates
    work_of = case.cost
    used = {op.kind: work_of(op) for op in case.program.period.ops}
    both_ways = Kind.H2D in used and Kind.D2H in used
    wanted = sum(_dram_rate(work, rates) for work in used.values())
    return (both_ways and not rates.duplex) or bool(wanted > rates.dram)


def _dram_rate(work: Work, rates: Rates) -> float:
    """Bytes per second that an operation draws from DRAM at its own full speed."""
    amount = work.amounts.get(Resource.DRAM, 0.0)
    if amount == 0.0:
        return 0.0
    limits = [a / rates.of(r) for r, a in work.amounts.items() if r is not Resource.DRAM]
    slowest = max(limits, default=0.0)
    return amount / slowest if slowest > 0.0 else float("inf")


def _structure(case: Case) -> object:
    """Cases of equal structure share a program; batch, samples and machine are only numbers."""
    r = case.recipe
    fixed = (r.trainable, r.storage_dtype, r.wire_dtype, r.compute_dtype, r.noise, r.perturbation)
    return case.model.name, case.plan, fixed


def _grouped(cases: Sequence[Case], key: Callable[[Case], object]) -> dict[object, list[int]]:
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for number, case in enumerate(cases):
        groups[key(case)].append(number)
    return groups


def _walk(case: Case) -> Walk:
    program = build(Shape.of(case.model), case.plan, case.recipe)
    return Walk.of(program, case.cost.key)


def _durations(cases: Sequence[Case]) -> Floats:
    """Durations alone, (classes, plans): one vectorised look-up per machine."""
    classes = _walk(cases[0]).classes
    table = np.empty((len(classes), len(cases)))
    for numbers in _grouped(cases, lambda case: id(case.machine)).values():
        cost = _joint_cost([cases[i] for i in numbers])
        rates = cost.rates
        for row, op in enumerate(classes):
            table[row, numbers] = cost(op).alone_s(rates)
    return table


def _joint_cost(cases: Sequence[Case]) -> CostModel:
    """One cost model for cases that differ only in how much data they process."""
    recipes = [case.recipe for case in cases]
    load = Load(
        batch=_column(r.batch for r in recipes),
        sequence=_column(r.sequence for r in recipes),
        microbatches=_column(r.microbatches for r in recipes),
        samples=_column(r.samples for r in recipes),
    )
    return replace(cases[0].cost, load=load)


def _column(values: Iterable[int]) -> Floats:
    return np.fromiter(values, dtype=np.float64)


def _chunks(durations: Floats) -> Iterable[Floats]:
    for start in range(0, durations.shape[1], _CHUNK):
        yield durations[:, start : start + _CHUNK]
