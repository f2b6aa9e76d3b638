"""The climb to plans that bounds do not tell from each other, on step times that tests make up."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.case import Case
from zo2sim.search.candidates import Candidates
from zo2sim.search.ledger import Ledger
from zo2sim.search.neighbours import Neighbours, climb
from zo2sim.search.pareto import front
from zo2sim.search.search import Effort, best_first, fastest
from zo2sim.search.space import PlanSpace
from zo2sim.simulate.steady import Numbers

AXES = {
    "policy": (Policy.ZO2, Policy.DUAL),
    "write_back_every": (1, 2, 3),
    "num_slots": (1, 2, 4),
    "resident_blocks": tuple(range(7)),
}
Placed = tuple[str, int, int, int]
"""Policy, write-back, slots and resident blocks."""


def placed(candidates: Candidates, number: int) -> Placed:
    plan = candidates.case(number).plan
    return plan.policy.value, plan.write_back_every, plan.num_slots, plan.resident_blocks


def candidates() -> Candidates:
    machine, recipe = named("4x-rtx-4090"), Recipe(sequence=64)
    base = Case(model=preset("opt-125m"), machine=machine, plan=Plan(devices=2), recipe=recipe)
    return Candidates.of(PlanSpace(base=base, axes=AXES))


def number_of(found: Candidates, plan: Placed) -> int:
    return next(n for n in range(len(found)) if placed(found, n) == plan)


class Told(Ledger):
    """Every bound is 1 s, and a step takes what the test says."""

    def __init__(self, takes_s: Callable[[Placed], float]) -> None:
        found = candidates()
        super().__init__(found, np.ones(len(found)))
        self.step_s[:] = 1.0
        self.tried: list[Placed] = []
        self.for_others = 0
        self._takes_s = takes_s

    @property
    def everyone(self) -> Numbers:
        return np.arange(len(self.candidates))

    def _walk(self, number: int, *, alone: bool) -> None:
        self.for_others += not alone
        self._walk_kin(number)

    def _walk_kin(self, number: int) -> None:
        self.num_programs += 1
        self.walked[number] = True
        self.last_walked = [number]

    def _simulate(self, number: int) -> None:
        self.num_simulated += 1
        self.tried.append(placed(self.candidates, number))
        self.step_s[number] = self._takes_s(self.tried[-1])
        self.known[number] = True


def valley_s(plan: Placed) -> float:
    """Least at write-back 3, two slots and five resident blocks, far from the first by bounds."""
    _, every, slots, residents = plan
    return 2.0 + abs(every - 3) + abs(slots - 2) + 0.1 * abs(residents - 5)


def climbed(ledger: Told, *, spent: Callable[[], bool], tolerance: float = 0.0) -> list[Placed]:
    """What is tried from the first plan on."""
    start = number_of(ledger.candidates, ("zo2", 1, 1, 0))
    ledger.look_closer(start, alone=True)
    ledger.look_closer(start, alone=True)
    climb(ledger, ledger.everyone, start, tolerance=tolerance, spent=spent)
    return ledger.tried


def test_a_neighbour_is_one_step_away_and_one_has_all_blocks_that_fit():
    found = candidates()
    small = np.flatnonzero((found.slots < 4) | (found.residents < 3))
    near = Neighbours(found, small)
    of = near.of(number_of(found, ("zo2", 1, 2, 4)))
    assert [placed(found, one) for one in of] == [
        ("zo2", 1, 2, 6),
        ("zo2", 2, 2, 4),
        ("dual", 1, 2, 4),
        ("zo2", 1, 4, 2),  # four slots have room for no more
        ("zo2", 1, 1, 4),
        ("zo2", 1, 2, 5),
        ("zo2", 1, 2, 3),
    ]


def test_a_wire_that_follows_from_the_storage_has_no_place_on_its_axis():
    int4 = Recipe(trainable="lora:4", storage_dtype=Dtype.INT4)
    axes = {"storage_dtype": (Dtype.FP16, Dtype.INT4), "wire_dtype": (Dtype.FP16, Dtype.FP32)}
    space = PlanSpace(base=replace(candidates().space.base, recipe=int4), axes=axes)
    assert [space.place(core) for core in space.cores] == [(0, 0), (1, -1)]


def test_the_climb_goes_on_from_every_better_plan_and_ends_where_none_is():
    ledger = Told(valley_s)
    assert climbed(ledger, spent=lambda: False) == [
        ("zo2", 1, 1, 0),
        ("zo2", 1, 1, 6),
        ("zo2", 2, 1, 6),
        ("zo2", 3, 1, 6),
        ("zo2", 3, 2, 6),
        ("zo2", 2, 2, 6),
        ("zo2", 3, 4, 6),
        ("zo2", 3, 2, 5),
        ("zo2", 2, 2, 5),
        ("zo2", 3, 4, 5),
        ("zo2", 3, 1, 5),
        ("zo2", 3, 2, 4),
    ]
    assert ledger.num_programs == ledger.num_simulated
    assert ledger.for_others == 0


def test_the_climb_ends_where_its_effort_does():
    ledger = Told(valley_s)
    tried = climbed(ledger, spent=lambda: ledger.num_simulated == 3)
    assert tried == [("zo2", 1, 1, 0), ("zo2", 1, 1, 6), ("zo2", 2, 1, 6)]


def test_what_bounds_leave_no_gain_is_not_tried():
    ledger = Told(lambda plan: 1.05)
    assert climbed(ledger, spent=lambda: False, tolerance=0.1) == [("zo2", 1, 1, 0)]


def test_a_search_of_few_programs_tries_what_is_near_the_best_by_bounds():
    ledger = Told(valley_s)
    found = fastest(ledger, ledger.everyone, Effort(simulations=12, programs=24))
    assert placed(ledger.candidates, found) == ("zo2", 3, 2, 5)
    assert ledger.num_simulated == 12


def test_no_more_programs_are_walked_than_allowed_at_most_half_of_them_by_bounds():
    ledger = Told(valley_s)
    _ = fastest(ledger, ledger.everyone, Effort(simulations=100, programs=9))
    assert (ledger.num_programs, ledger.for_others) == (9, 4)  # one of each core


def test_a_search_of_any_number_of_programs_goes_by_bounds_alone():
    ledger = Told(valley_s)
    _ = fastest(ledger, ledger.everyone, Effort(simulations=6))
    in_order = Told(valley_s)
    for number in best_first(in_order, in_order.everyone):
        if in_order.num_simulated == 6:
            break
        in_order.look_closer(number)
    assert ledger.tried == in_order.tried


def test_for_a_point_of_the_front_no_other_plan_is_walked():
    ledger = Told(valley_s)
    _ = front(ledger, ledger.everyone, grain=0.0, simulations=4, programs=100)
    assert (ledger.num_programs, ledger.num_simulated, ledger.for_others) == (4, 4, 0)


def test_of_several_devices_a_walked_plan_comes_before_those_that_are_less_by_rounding():
    ledger = Told(valley_s)
    ledger.walked[7] = True
    ledger.step_s[7] = 1.0 + 1e-15
    assert next(best_first(ledger, ledger.everyone)) == 7
