"""A space tried out plan by plan: what a search must agree with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from zo2sim.memory.account import fits
from zo2sim.memory.runtime import account
from zo2sim.predict.case import Case
from zo2sim.search.space import PlanSpace, changed, refused
from zo2sim.simulate.events import simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One plan, simulated and accounted for on its own."""

    case: Case
    step_s: float
    device_bytes: int
    host_bytes: int
    fit: bool

    @property
    def tokens_per_s(self) -> float:
        return self.case.recipe.tokens_per_step / self.step_s


def every_plan(space: PlanSpace) -> Iterator[Case]:
    """Every allowed combination, whether plans are alike or not."""
    for values in product(*space.axes.values()):
        case = changed(space.base, dict(zip(space.axes, values, strict=True)))
        if refused(case) is None:
            yield case


def every_tried(space: PlanSpace) -> list[Tried]:
    """What becomes of every plan."""
    return [_tried(case) for case in every_plan(space)]


def _tried(case: Case) -> Tried:
    context_bytes = int(case.machine.device.context_bytes.value)
    memory = account(case.model, case.plan, case.recipe, context_bytes=context_bytes)
    return Tried(
        case=case,
        step_s=_step_s(case),
        device_bytes=memory.device_bytes,
        host_bytes=memory.host_bytes,
        fit=all(place.fits for place in fits(memory, case.machine)),
    )


def _step_s(case: Case) -> float:
    """Simulated; plans that use the same slots and blocks take the same time."""
    streamed = case.model.num_blocks - case.plan.resident_blocks
    slots = max(1, min(case.plan.num_slots, streamed))
    return _simulated_s(replace(case, plan=replace(case.plan, num_slots=slots)))


@lru_cache(maxsize=4096)
def _simulated_s(case: Case) -> float:
    cost = case.cost
    return simulate(case.program, cost, cost.rates).step_s
