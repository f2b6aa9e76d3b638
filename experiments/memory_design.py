"""Runs whose memory is measured: 0.3 to 0.7 GB each, so that a process's growth means something.

The first ones say most. Each has a plan, a recipe or a model that takes memory in another way.
"""

from experiments.run_design import llama, opt, recipe
from zo2rt.measure.runs import RunSpec
from zo2sim.plan.choices import Plan, Policy


def memory_runs() -> tuple[RunSpec, ...]:
    """Models of random weights, for two or three steps each."""
    wide, gated = opt(1024, 5, vocab=2048), llama(1024, 5, vocab=2048)
    tied = llama(512, 12, vocab=16_000, tied=True)
    brief = recipe(batch=1, sequence=64, noise="rademacher")
    long = recipe(batch=2, sequence=256, microbatches=2, noise="rademacher")
    return (
        RunSpec(name="tied llama, 4 x 2x256", config=tied, plan=Plan(), recipe=long),
        RunSpec(
            name="opt, gaussian", config=wide, plan=Plan(), recipe=recipe(batch=1, sequence=64)
        ),
        RunSpec(
            name="llama, 4 slots, W+ and W-",
            config=gated,
            plan=Plan(num_slots=4, scratch_copies=2),
            recipe=brief,
        ),
        RunSpec(name="opt, resident", config=wide, plan=Plan(policy=Policy.RESIDENT), recipe=brief),
        RunSpec(
            name="llama, host_update",
            config=gated,
            plan=Plan(policy=Policy.HOST_UPDATE, num_slots=1),
            recipe=brief,
        ),
        RunSpec(
            name="opt, every 3, 2 resident",
            config=wide,
            plan=Plan(write_back_every=3, resident_blocks=2, pinning="pageable"),
            recipe=brief,
        ),
    )
