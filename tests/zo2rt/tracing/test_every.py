"""A sample of `every`: kinds whose work, numbers or way of being built are unlike the others'."""

import pytest

from tests.zo2rt.tracing.every import cases, planned, ran

SAMPLED = ("deepseek_v32", "gpt_oss")
"""An indexer's scores, and attention that PyTorch has no kernel for."""


@pytest.mark.parametrize("model_type", SAMPLED)
def test_a_kind_s_default_config_is_planned_for_and_its_small_copy_runs(model_type: str):
    (case,) = (case for case in cases(["causal"]) if case.model_type == model_type)
    assert planned(case)
    assert ran(case)
