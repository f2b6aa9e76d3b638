"""The proof of a plan's program: free of races, and all done that its model asks."""

from functools import partial

from zo2sim.policies import Layout, build, flush, task
from zo2sim.schedule.verify import Hazard, unfulfilled, verify


def hazards(layout: Layout) -> tuple[Hazard, ...]:
    """Every race of a plan's program, and all that its model asks and it does not; none if proved.

    Raises ``ValueError`` as `build` does.
    """
    program = build(layout.shape, layout.plan, layout.recipe)
    asked = task(layout.shape, layout.plan, layout.recipe)
    races = verify(program, num_slots=layout.num_slots)
    return (*races, *unfulfilled(program, asked, partial(flush, layout)))
