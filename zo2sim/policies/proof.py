"""The proof of a plan's program: free of races, and all done that its model asks."""

from functools import cache

from zo2sim.policies import Layout, build, flush, task
from zo2sim.schedule.ops import Program, Schedule
from zo2sim.schedule.verify import Hazard, unfulfilled, verify
from zo2sim.schedule.versions import FlushAfter


def hazards(layout: Layout) -> tuple[Hazard, ...]:
    """Every race of a plan's program, and all that its model asks and it does not; none if proved.

    Raises ``ValueError`` as `build` does.
    """
    program = build(layout.shape, layout.plan, layout.recipe)
    asked = task(layout.shape, layout.plan, layout.recipe)
    races = verify(program, num_slots=layout.num_slots)
    return (*races, *unfulfilled(program, asked, _flushes(layout, program)))


def _flushes(layout: Layout, program: Program) -> FlushAfter:
    """The flush after any number of steps; from the first period on they repeat."""
    every = layout.plan.write_back_every

    @cache
    def known(done: int) -> Schedule:
        return program.flush if done == every else flush(layout, done)

    return lambda done: known(done if done < every else every + done % every)
