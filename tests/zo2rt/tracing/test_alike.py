"""What is traced is what streams: units to the byte, and the bits of a model that stays."""

import pytest

from tests.thorough import some_of
from tests.zo2rt.tracing.alike import bits_are_resident_s, unit_bytes
from tests.zo2rt.tracing.configs import CONFIGS, traced
from tests.zo2rt.tracing.shrunk import FIRST_SPECIAL, HEAD, shrunk

STREAMED = ("gpt-oss", "falcon", "qwen3-moe", "gemma3", "t5", "deepseek", "vit", "qwen3.5")
"""A kind of each, some of which are also in `test_every`: all of a folder are in `given`."""


@pytest.mark.parametrize("case", some_of(STREAMED, every=2))
def test_three_steps_give_the_bits_of_a_model_that_stays(case: str):
    same, num_bytes = bits_are_resident_s(CONFIGS[case], FIRST_SPECIAL)
    assert same
    assert num_bytes == unit_bytes(traced(case))


def test_a_small_copy_has_every_kind_of_layer():
    large = CONFIGS["qwen3.5"] | {
        "num_hidden_layers": 8,
        "layer_types": [*(["linear_attention"] * 3), "full_attention"] * 2,
        "hidden_size": 5120,
        "head_dim": 256,
        "eos_token_id": 90,
    }
    small = shrunk(large)
    assert small["layer_types"] == ["linear_attention"] * 3 + ["full_attention"]
    assert (small["num_hidden_layers"], small["head_dim"]) == (4, HEAD)
    assert FIRST_SPECIAL <= small["eos_token_id"] < small["vocab_size"]
