"""The best plan of a space, proven: best first, by bounds that get better as they are looked at.

    search(space, objective) -> Search

Every plan has a lower bound (`zo2sim.search.placement_bounds`). The plan with the least bound is
looked at more closely (`zo2sim.search.ledger`), until the least entry is a simulated one: then no
other plan can be faster. Where the effort is too small for that, part of it goes to what is near
the best one (`zo2sim.search.neighbours`). The same order with memory for two more axes gives the
Pareto front (`zo2sim.search.pareto`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import Literal, get_args

import numpy as np

from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import with_device_memory, with_host_memory
from zo2sim.memory.account import GIB, DoesNotFit
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.search.candidates import Allowed, Candidates, Flags
from zo2sim.search.ledger import Ledger, Watch
from zo2sim.search.neighbours import climb
from zo2sim.search.pareto import front
from zo2sim.search.space import PlanSpace, plan_axes
from zo2sim.simulate.steady import Floats, Numbers

Objective = Literal["tokens", "samples", "memory"]

_OF_ONE_CORE = 8
"""Cores that a limited number of programs is shared by, at the least."""
SAME = 1e-9
"""Relative difference that is rounding."""


class NothingFits(DoesNotFit):
    """No plan of a space has room on the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """When a search stops. The gap that is left is part of the answer.

    ``tolerance`` is the relative distance to the bound at which a plan is good enough,
    ``simulations`` the most that are run for the best plan, and again for the Pareto front;
    ``grain`` is the relative difference below which two points of the front are alike.
    ``programs`` are the most that are walked for the best plan, and again for the front; None: as
    many as it takes.
    """

    tolerance: float = 1e-3
    simulations: int = 16
    grain: float = 0.15
    programs: int | None = None

    def __post_init__(self) -> None:
        if self.tolerance < 0.0 or self.grain < 0.0 or self.simulations < 1:
            raise ValueError(
                "tolerance and grain must be >= 0, simulations >= 1; "
                f"got {self.tolerance}, {self.grain}, {self.simulations}"
            )

    @property
    def half(self) -> "Effort":
        """With half as many simulations and programs, at least one."""
        programs = None if self.programs is None else (self.programs + 1) // 2
        return replace(self, simulations=(self.simulations + 1) // 2, programs=programs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One plan of the space. ``simulated`` is False where ``step_s`` is only its lower bound."""

    case: Case
    step_s: float
    device_bytes: int
    host_bytes: int
    nvme_bytes: int
    simulated: bool = True

    @property
    def tokens_per_s(self) -> float:
        return self.case.recipe.tokens_per_step / self.step_s

    @property
    def samples_per_s(self) -> float:
        """Noise directions per second, each with a loss over the whole step's data."""
        return self.case.recipe.samples / self.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The answer: ``lower_bound_s`` is for as much work as a step of the best plan does."""

    best: Found
    lower_bound_s: float
    pareto: tuple[Found, ...]
    plans_evaluated: int
    plans_fitting: int
    plans_walked: int
    plans_simulated: int

    @property
    def gap(self) -> float:
        """How far the best plan is above what no plan of the space can beat."""
        return self.best.step_s / self.lower_bound_s - 1.0


def search(
    space: PlanSpace,
    objective: Objective = "tokens",
    *,
    effort: Effort | None = None,
    allowed: Allowed | None = None,
    watch: Watch | None = None,
) -> Search:
    """The best plan of the space that fits its machine.

    ``tokens`` and ``samples`` want the most per second, ``memory`` the least on the device, then
    on the host, and of those plans the fastest. ``watch`` is told how the search gets on. Raises
    ``ValueError`` where nothing fits.
    """
    effort = effort or Effort()
    candidates = Candidates.of(space, allowed=allowed)
    fitting = np.flatnonzero(candidates.fitting(space.base.machine))
    if not len(fitting):
        raise NothingFits(_nothing_fits(candidates, space))
    ledger = Ledger(candidates, work(candidates, objective), watch=watch)
    among = smallest(candidates, fitting) if objective == "memory" else fitting
    best = fastest(ledger, among, effort)
    least = float(ledger.cost(among).min() * ledger.work[best])
    points = front(
        ledger,
        fitting,
        grain=effort.grain,
        simulations=effort.simulations,
        programs=effort.programs,
    )
    return Search(
        best=found(ledger, best),
        lower_bound_s=min(least, float(ledger.step_s[best])),
        pareto=_with_best(found(ledger, best), [found(ledger, point) for point in points]),
        plans_evaluated=len(candidates),
        plans_fitting=len(fitting),
        plans_walked=ledger.num_walked,
        plans_simulated=ledger.num_simulated,
    )


def work(candidates: Candidates, objective: Objective) -> Floats:
    """What a step of every plan gets done: tokens, or samples of the estimator."""
    if objective not in get_args(Objective):
        raise ValueError(
            f"objective must be one of {', '.join(get_args(Objective))}; got {objective!r}"
        )
    recipes = [case.recipe for case in candidates.cores]
    per_core = [r.samples if objective == "samples" else r.tokens_per_step for r in recipes]
    return np.array(per_core, dtype=np.float64)[candidates.core]


def smallest(candidates: Candidates, among: Numbers) -> Numbers:
    """Those that need the least on the device, and of those the least on the host."""
    device = candidates.device[among]
    least = among[device == device.min()]
    host = candidates.host[least]
    return least[host == host.min()]


def fastest(ledger: Ledger, among: Numbers, effort: Effort) -> int:
    """The plan that is known to cost least, of ``among``; equal ones by memory.

    Stops where nothing can be better by more than the tolerance, or at the most simulations. Where
    programs are limited, half of the effort is for neighbours of the best.
    """
    most = effort.programs
    if most is None:
        return _by_bounds(ledger, among, effort)
    begun, walked = ledger.num_simulated, ledger.num_programs

    def spent() -> bool:
        programs = ledger.num_programs - walked
        return ledger.num_simulated - begun >= effort.simulations or programs >= most

    best = _by_bounds(ledger, among, effort.half)
    climb(ledger, among, best, tolerance=effort.tolerance, spent=spent)
    return _least(ledger, among)


def _by_bounds(ledger: Ledger, among: Numbers, effort: Effort) -> int:
    """The plan that is known to cost least, once the best are looked at by their bounds."""
    begun = ledger.num_simulated
    for number in _within(ledger, among, effort.programs):
        known = among[ledger.known[among]]
        best = ledger.cost(known).min() if len(known) else np.inf
        if ledger.cost_of(number) * (1 + effort.tolerance) >= best:
            break
        if ledger.num_simulated - begun >= effort.simulations and len(known):
            break
        ledger.look_closer(number)
    return _least(ledger, among)


def _least(ledger: Ledger, among: Numbers) -> int:
    known = among[ledger.known[among]]
    costs = ledger.cost(known)
    equal = known[costs <= costs.min() * (1 + SAME)]
    needs = (ledger.candidates.host[equal], ledger.candidates.device[equal])
    return int(equal[np.lexsort(needs)[0]])


def _within(ledger: Ledger, among: Numbers, programs: int | None) -> Iterator[int]:
    """`best_first`, with no more programs walked than that; of one core a share of them, as its
    plans of least bounds are alike."""
    cores, begun, spent = ledger.candidates.core, ledger.num_programs, Counter[int]()
    most = np.inf if programs is None else programs
    while len(among):
        left: Flags | None = None
        for number in best_first(ledger, among):
            core, before = int(cores[number]), ledger.num_programs
            if not ledger.walked[number] and spent[core] >= most / _OF_ONE_CORE:
                left = cores[among] != core
            if not ledger.walked[number] and before - begun >= most:
                left = np.zeros(len(among), dtype=bool)
            if left is not None:
                break
            yield number
            spent[core] += ledger.num_programs - before
        if left is None:
            return
        among = among[left | ledger.walked[among]]


def best_first(ledger: Ledger, among: Numbers) -> Iterator[int]:
    """Plans of least cost first, of equal ones the smallest, as the ledger learns.

    A plan comes again until it is known; a known one comes once. Of several devices' plans, whose
    costs are equal up to rounding, those come first that were walked, which have most slots.
    """
    device = ledger.candidates.device
    several = ledger.candidates.space.base.plan.devices > 1

    def cost_of(number: int) -> float:
        cost = ledger.cost_of(number)
        return float(f"{cost:.10g}") if several else cost

    def entry(number: int) -> tuple[float, bool, int, int]:
        unwalked = several and not ledger.walked[number]
        return cost_of(number), unwalked, int(device[number]), number

    heap = [entry(number) for number in among.tolist()]
    heapify(heap)
    ours, told = {*among.tolist()} if several else set[int](), set[int]()
    while heap:
        cost, *_, number = heappop(heap)
        if number in told:
            continue
        if cost < cost_of(number):  # it has been looked at since
            heappush(heap, entry(number))
            continue
        was_known = bool(ledger.known[number])
        yield number
        if was_known:
            told.add(number)
            continue
        for one in {number, *ours.intersection(ledger.last_walked)}:
            heappush(heap, entry(one))


def found(ledger: Ledger, number: int) -> Found:
    """What is known of one plan."""
    candidates = ledger.candidates
    return Found(
        case=candidates.case(number),
        step_s=float(ledger.step_s[number]),
        device_bytes=int(candidates.device[number]),
        host_bytes=int(candidates.host[number]),
        nvme_bytes=int(candidates.nvme[number]),
        simulated=bool(ledger.known[number]),
    )


def _with_best(best: Found, points: Sequence[Found]) -> tuple[Found, ...]:
    """The front with the best plan in place of what it beats; the grain may have left it out."""
    others = [p for p in points if p.case != best.case and not _beats(best, p)]
    return tuple(sorted([best, *others], key=lambda point: -point.tokens_per_s))


def _beats(one: Found, other: Found) -> bool:
    return (
        one.tokens_per_s >= other.tokens_per_s
        and one.device_bytes <= other.device_bytes
        and one.host_bytes <= other.host_bytes
    )


def _nothing_fits(candidates: Candidates, space: PlanSpace) -> str:
    """Says the least that is needed at each place, by plans that need it there."""
    machine = space.base.machine
    device, host = int(candidates.device.min()), int(candidates.host.min())
    return (
        f"no plan of the space fits {machine.name}: the smallest on the device needs "
        f"{device / GIB:.1f} of {machine.device.memory_bytes.value / GIB:.1f} GiB, the smallest on "
        f"the host {host / GIB:.1f} of {machine.host.memory_bytes.value / GIB:.1f} GiB; "
        "free more axes, or give more memory"
    )


_QUICK = Effort(tolerance=0.01, simulations=4, grain=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes that may be used; None: all that the machine has."""

    device_bytes: float | None = None
    host_bytes: float | None = None

    def of(self, machine: Machine) -> Machine:
        """The machine with no more than these."""
        if self.device_bytes is not None:
            machine = with_device_memory(machine, self.device_bytes)
        if self.host_bytes is not None:
            machine = with_host_memory(machine, self.host_bytes)
        return machine


def choose(
    model: Model,
    machine: Machine,
    limits: Limits,
    recipe: Recipe,
    *,
    allowed: Allowed | None = None,
) -> Plan:
    """The plan with the most tokens per second that fits, up to 1 %; the recipe stays as it is.

    ``allowed`` may rule out plans, such as those that a runtime does not execute. The same
    arguments give the same plan. Raises `zo2sim.search.search.NothingFits`, a ``ValueError`` that
    says what the smallest plans need, where none fits.
    """
    base = Case(model=model, machine=limits.of(machine), plan=Plan(), recipe=recipe)
    space = PlanSpace(base=base, axes=plan_axes(base))
    return search(space, effort=_QUICK, allowed=allowed).best.case.plan
