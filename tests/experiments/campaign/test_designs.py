"""What is run to calibrate, and what is held out: allowed, of all kinds, and apart."""

from experiments.campaign.designs import (
    KINDS,
    calibration_runs,
    held_out_runs,
    integer_runs,
    llama,
    opt,
    recipe,
    reference_runs,
)
from zo2rt.measure.runs import RunSpec
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy
from zo2sim.plan.refusals import refusal


def test_integer_formats_are_held_out_behind_limited_links():
    found = [*integer_runs()]
    assert len({spec.name for spec in found}) == 12
    assert all(refusal(spec.plan, spec.recipe) is None for spec in found)
    assert all(spec.recipe.storage_dtype.is_integer for spec in found)
    assert len({spec.link_bytes_per_s for spec in found} - {None}) == 3
    assert {spec.recipe.trainable for spec in found} == {"lora:4", "scales"}
    assert len({spec.recipe.storage_dtype for spec in found}) == 3
    assert len({spec.plan for spec in found}) == 4


def test_what_validates_was_not_calibrated_with():
    """No model shape is in both designs, and every field that a plan may vary does."""
    seen = [spec.config for spec in (*calibration_runs(200, seed=0), *reference_runs())]
    held_out = list(held_out_runs())
    assert len(held_out) >= 24
    assert len({spec.name for spec in held_out}) == len(held_out)
    widths = {config["hidden_size"] for config in seen}
    assert not widths & {s.config["hidden_size"] for s in (*held_out, *integer_runs())}
    assert len({spec.link_bytes_per_s for spec in held_out}) >= 4
    assert {spec.plan.policy for spec in held_out} >= {
        Policy.ZO2,
        Policy.DUAL,
        Policy.NAIVE,
        Policy.RESIDENT,
    }
    for field in ("num_slots", "write_back_every", "resident_blocks"):
        assert len({getattr(spec.plan, field) for spec in held_out}) > 1, field
    for field in ("batch", "sequence", "microbatches", "noise"):
        assert len({getattr(spec.recipe, field) for spec in held_out}) > 1, field


def test_frozen_blocks_are_calibrated_with_in_every_integer_format():
    found = [spec.recipe for spec in calibration_runs(4 * len(KINDS), seed=0)]
    assert {how.storage_dtype for how in found} >= {Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM}
    assert {how.trainable for how in found} >= {"all", "lora:4", "scales"}
    assert all(refusal(spec.plan, spec.recipe) is None for spec in calibration_runs(60, seed=1))


def test_models_of_the_designs_are_those_that_run():
    for config in (opt(96, 2, vocab=64), llama(96, 2, vocab=64)):
        spec = RunSpec(name="x", config=config, plan=Plan(), recipe=recipe(batch=1, sequence=8))
        assert spec.model.num_blocks == 2
