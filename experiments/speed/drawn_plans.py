"""Plans drawn at random, as many as one likes, to measure how fast plans are priced."""

import random
from dataclasses import replace

from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.case import Case


def uncontended(machine: Machine) -> Machine:
    """The machine with a link and a DRAM that nothing slows."""
    link = machine.link
    free = {
        "link.both_h2d_bytes_per_s": link.h2d_bytes_per_s.value,
        "link.both_d2h_bytes_per_s": link.d2h_bytes_per_s.value,
        "host.dram_bytes_per_s": 1e12,
    }
    return replace_all(machine, free, source="no contention, to compare with the fast path")


def random_cases(draw: random.Random, machine: Machine, count: int) -> list[Case]:
    """Plans of OPT-175B in a few structures, with any batch, sequence, lanes and link."""
    model = preset("opt-175b")
    plans = [
        Plan(num_slots=slots, write_back_every=every, scratch_copies=copies)
        for slots, every, copies in ((1, 1, 1), (2, 1, 2), (3, 1, 1), (4, 2, 1))
    ]
    plans += [Plan(policy=Policy.HOST_UPDATE), Plan(policy=Policy.DUAL)]
    machines = [_with_link(machine, draw.uniform(5e9, 60e9)) for _ in range(16)]
    return [
        Case(
            model=model,
            machine=draw.choice(machines),
            plan=draw.choice(plans),
            recipe=replace(
                Recipe(),
                batch=draw.randint(1, 16),
                sequence=128 * draw.randint(1, 32),
                microbatches=draw.randint(1, 16),
                samples=draw.randint(1, 4),
            ),
        )
        for _ in range(count)
    ]


def _with_link(machine: Machine, rate: float) -> Machine:
    keys = [f"link.{both}{way}_bytes_per_s" for both in ("", "both_") for way in ("h2d", "d2h")]
    return replace_all(machine, dict.fromkeys(keys, rate), source="drawn at random")
