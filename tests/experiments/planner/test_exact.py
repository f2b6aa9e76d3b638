"""The engine's answer to a position: that of the search, with what the page shows of it."""

from dataclasses import replace

import pytest

from experiments.planner.exact import Question, exact
from tests.experiments.planner.pages import MACHINES, MODELS
from zo2sim.facade import predict, tune
from zo2sim.machines.file import named
from zo2sim.models.presets import resolve
from zo2sim.plan.choices import Recipe
from zo2sim.schedule.ops import Stream

MODEL = resolve(MODELS[0])
CARD = MACHINES[2]


def test_the_answer_is_that_of_the_search():
    found = exact(Question(microbatches=2), MODEL, CARD)
    best = tune(MODEL, CARD, microbatches=2)
    assert found["tokensPerS"] == pytest.approx(best.best.tokens_per_s, rel=0.02)
    assert found["source"] == "engine"
    points = [(point["device"], point["tokensPerS"]) for point in found["front"]]
    assert points == sorted(points)
    assert points[-1][1] == max(speed for _, speed in points)
    assert found["fits"] is True


def test_of_several_cards_the_best_stored_plan_is_simulated():
    node = named("4x-rtx-4090")
    found = exact(Question(cards=2, microbatches=2), MODEL, node)
    policy = found["flags"].split()[1]
    own = predict(MODEL, node, policy=policy, devices=2, microbatches=2, scratch_copies=2)
    assert found["flags"].endswith("--devices 2")
    assert found["step"] == pytest.approx(own.step_s, rel=0.05)
    assert found["streams"]["peer"] > 0
    small = exact(Question(cards=2, device=1.0), MODEL, node)
    assert (small["fits"], small["front"]) == (False, [])


def test_its_band_and_sources_are_its_own():
    found = exact(Question(storage="int4", trains="adapters"), MODEL, CARD)
    low, high = found["band"]
    assert low < found["tokensPerS"] < high
    assert found["recipe"] == "--trainable lora:16 --storage-dtype int4"
    assert found["trust"]["words"]["hold_out_error"] == "not validated on real runs"


def test_a_step_s_spans_fill_what_its_streams_are_busy():
    found = exact(Question(device=1.8), MODEL, CARD)
    compute = found["spans"][Stream.COMPUTE]
    assert sum(to - since for since, to in compute) == pytest.approx(found["streams"]["compute"])
    assert min(since for since, _ in compute) >= 0.0
    assert max(to for _, to in compute) <= found["step"] * (1 + 1e-9)


def test_where_nothing_fits_the_smallest_plan_is_shown_with_what_it_lacks():
    found = exact(Question(device=1.0), MODEL, CARD)
    assert (found["fits"], found["front"]) == (False, [])
    assert found["need"][0] > found["have"][0]


def test_no_drive_means_no_plan_that_needs_one():
    question = Question(host=4.0, device=2.55)
    assert exact(question, MODEL, CARD)["need"][2] > 0
    without = exact(replace(question, drive=False), MODEL, CARD)
    assert (without["fits"], without["need"][2]) == (False, 0)


def test_a_link_of_another_rate_is_a_machine_with_it():
    slow, fast = (exact(Question(link=factor, device=1.8), MODEL, CARD) for factor in (0.25, 1.0))
    assert slow["tokensPerS"] < fast["tokensPerS"]


def test_a_model_of_few_positions_has_short_sequences():
    short = resolve("gpt2")
    assert exact(Question(), short, named("t4-16gb"))["tokens"] == short.shortened(
        Recipe().sequence
    )
    assert exact(Question(), short, CARD)["recipe"] == ""


def test_the_answer_is_the_prediction_of_its_plan():
    found = exact(Question(), MODEL, CARD)
    assert predict(MODEL, CARD, policy=found["flags"].split()[1]).step_s >= found["step"] * 0.98


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"storage": "int4"}, "format must be one of fp16 all, .*got 'int4 all'"),
        ({"link": -1}, "link must be positive"),
        ({"device": "x"}, "device must be a number"),
        ({"microbatches": 0}, "microbatches must be a whole number"),
    ],
)
def test_what_is_no_position_is_refused(wrong, message: str):
    with pytest.raises(ValueError, match=message):
        Question(**wrong)
