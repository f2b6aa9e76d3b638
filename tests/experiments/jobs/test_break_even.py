"""How many tokens hide the copies: a bisection over sequences per step."""

from dataclasses import replace

import pytest

from experiments.case.spec import LINK_SCALE, Spec
from experiments.jobs.break_even import first, needed
from experiments.jobs.job import Job
from experiments.jobs.presets import break_even, memory
from zo2sim.machines.file import named
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.predict import predict

SMALL = Spec(model="opt-125m", machine="a100-pcie-80gb", plan=Plan(), recipe=Recipe(sequence=64))


def job(spec: Spec = SMALL, label: str = "zo2") -> Job:
    return Job(question="break_even", label=label, spec=spec)


@pytest.mark.parametrize("least", [1, 2, 7, 63, 64])
def test_the_least_that_is_enough_is_found(least: int):
    assert first(lambda n: n >= least, 64) == least


def test_what_is_never_enough_has_no_number():
    found = first(lambda n: False, 64)
    assert found != found


def test_one_sequence_less_is_not_enough():
    table = needed([job()])
    assert table is not None
    (row,) = (r for r in table.to_dict("records") if (r["link"], r["share"]) == ("PCIe 3", 0.9))
    enough = int(row["tokens"]) // 64
    own = named(SMALL.machine).link.h2d_bytes_per_s.value

    def ratio(sequences: int) -> float:
        recipe = replace(SMALL.recipe, microbatches=sequences)
        streamed = replace(SMALL, recipe=recipe, changes=((LINK_SCALE, 11.5e9 / own),))
        alone = replace(SMALL, recipe=recipe, plan=Plan(policy=Policy.RESIDENT))
        return predict(alone.case()).step_s / predict(streamed.case()).step_s

    assert ratio(enough) >= 0.9
    assert enough == 1 or ratio(enough - 1) < 0.9


def test_several_machines_or_other_questions_have_no_table():
    other = replace(SMALL, machine="l40s-48gb")
    assert needed([job(), job(other)]) is None
    assert needed([*memory()]) is None
    assert needed([job(label="zo2, num-slots=3")]) is None


def test_the_grid_is_drawn_without_bands():
    assert not any(one.bands for one in break_even())
