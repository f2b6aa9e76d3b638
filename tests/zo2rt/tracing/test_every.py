"""A sample of `every`: kinds whose work, numbers or way of being built are unlike the others'."""

from collections.abc import Callable

import pytest

from tests.thorough import THOROUGH
from tests.zo2rt.tracing.every import Case, cases, planned, ran

Step = Callable[[Case], str]

SAMPLED: list[tuple[str, Step]] = [
    ("deepseek_v32", ran),  # an indexer's scores
    ("granitemoehybrid", ran),  # layers that all recur, whose cache cannot say how long it is
    ("gemma4_unified", ran),  # a mask that asks which image a position is of
    ("emu3", planned),  # the text part of a config of several parts
    ("emu3", ran),
    ("doge", planned),  # more experts than any model has layers
]
"""With the step that shows it."""
THE_REST: list[tuple[str, Step]] = [
    ("deepseek_v32", planned),
    ("granitemoehybrid", planned),
    ("gemma4_unified", planned),
    ("doge", ran),
    ("gpt_oss", planned),  # attention that PyTorch has no kernel for, which `test_tracing` has, too
    ("gpt_oss", ran),
]


@pytest.mark.parametrize(("model_type", "step"), SAMPLED + THE_REST if THOROUGH else SAMPLED)
def test_a_kind_s_default_config_is_planned_for_and_its_small_copy_runs(
    model_type: str, step: Step
):
    (case,) = (case for case in cases(["causal"]) if case.model_type == model_type)
    assert step(case)
