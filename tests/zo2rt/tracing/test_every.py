"""A sample of `every`: kinds whose work, numbers or way of being built are unlike the others'."""

import pytest

from tests.zo2rt.tracing.every import cases, planned, ran

SAMPLED = (
    "deepseek_v32",  # an indexer's scores
    "gpt_oss",  # attention that PyTorch has no kernel for
    "granitemoehybrid",  # layers that all recur, whose cache cannot say how long it is
    "gemma4_unified",  # a mask that asks which image a position is of
    "emu3",  # the text part of a config of several parts
    "doge",  # more experts than any model has layers
)


@pytest.mark.parametrize("model_type", SAMPLED)
def test_a_kind_s_default_config_is_planned_for_and_its_small_copy_runs(model_type: str):
    (case,) = (case for case in cases(["causal"]) if case.model_type == model_type)
    assert planned(case)
    assert ran(case)
