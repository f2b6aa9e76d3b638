"""Random legal orders of operations on two to four devices, and programs that lack an edge.

    python -m tests.zo2rt.devices.interleavings 1000 7

Draws plans of all policies and placements from the seed. Each runs in five orders that its schedule
allows, after which every buffer must have the bytes of the issue order. The verifier must find
nothing in its program, and something once any one edge between two devices is gone.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import get_args

from tests.zo2rt.steps.tiny_executor import execute, in_issue_order, whole_run
from tests.zo2sim.schedule.test_devices import crossing, less_edge
from zo2rt.backends import VirtualBackend
from zo2sim.plan.choices import Placement, Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Layout, Shape, build
from zo2sim.policies.proof import hazards
from zo2sim.schedule.unroll import unroll
from zo2sim.schedule.verify import races

ORDERS = 5
"""Of each plan."""
_POLICIES = [policy for policy in Policy if not policy.traits.published]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    shape: Shape
    plan: Plan
    recipe: Recipe

    @classmethod
    def of(cls, random: Random) -> "Drawn":
        """A small model on some devices; what is refused is drawn again."""
        policy, placement = random.choice(_POLICIES), random.choice(get_args(Placement))
        plan = Plan(
            policy=policy,
            devices=random.randint(2, 4),
            placement=placement,
            lane_groups=random.choice((1, 1, 2)) if placement == "ring" else 1,
            write_back_every=random.randint(1, 3) if policy is Policy.ZO2 else 1,
            num_slots=random.randint(1, 3),
            scratch_copies=random.randint(1, 2),
            resident_blocks=random.randint(0, 1),
        )
        how = Recipe(microbatches=plan.lane_parts, samples=random.choice((1, 1, 2)))
        shape = Shape(num_blocks=random.randint(3, 5), tied=random.random() < 0.5)
        if refusal(plan, how) is not None:
            return cls.of(random)
        return cls(shape=shape, plan=plan, recipe=how)

    def differing(self, random: Random) -> int:
        """Orders, of `ORDERS` that are drawn, that leave other bytes than the issue order."""
        run = whole_run(self.shape, self.plan, self.recipe)
        wanted, devices = in_issue_order(run), self.plan.devices
        seeds = (random.randrange(2**32) for _ in range(ORDERS))
        found = (execute(VirtualBackend(seed, devices=devices), run) for seed in seeds)
        return sum(contents != wanted for contents in found)

    def alarms(self) -> int:
        """What the verifier finds in the program as it is."""
        return len(hazards(Layout(shape=self.shape, plan=self.plan, recipe=self.recipe)))

    def deletions(self) -> list[bool]:
        """Per edge between devices: whether the verifier finds that it is gone.

        Where one operation follows the other, whatever they touch, most edges are not needed.
        """
        if not self.plan.overlaps:
            return []
        whole = build(self.shape, self.plan, self.recipe)
        cuts = (less_edge(whole.period, index, edge) for index, edge in crossing(whole.period))
        lacking = (replace(whole, period=cut) for cut in cuts)
        return [any(races(unroll(program, periods=4))) for program in lacking]


def main(orders: int, seed: int = 0, tell: Callable[[str], None] = print) -> int:
    """What went wrong in so many orders, and in what was drawn for them; says it."""
    random = Random(seed)
    drawn = [Drawn.of(random) for _ in range(-(-orders // ORDERS))]
    differing = sum(one.differing(random) for one in drawn)
    alarms = sum(one.alarms() for one in drawn)
    caught = [found for one in drawn for found in one.deletions()]
    tell(
        f"{ORDERS * len(drawn)} orders of {len(drawn)} plans: {differing} with other bytes; "
        f"{alarms} false alarms; {sum(caught)} of {len(caught)} deleted edges between devices found"
    )
    return differing + alarms + caught.count(False)


if __name__ == "__main__":
    count, seed = map(int, sys.argv[1:])
    sys.exit(main(count, seed) > 0)
