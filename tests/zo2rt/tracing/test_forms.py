"""Config files as people publish them: fields that change no shape, old ones, and missing ones."""

import json
from pathlib import Path

import pytest

from experiments.case.model import model_of
from tests.zo2rt.tracing.configs import CONFIGS, Config, traced
from tests.zo2rt.tracing.configs import model_of as made
from tests.zo2sim.models.test_config import TINY
from zo2rt.tracing.building import _cleaned
from zo2rt.tracing.tracing import trace
from zo2sim.models.config import from_config

_LLAMA3: Config = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FORMS: dict[str, Config] = {
    "dtype": {"dtype": "bfloat16"},
    "its old name": {"torch_dtype": "float16", "_name_or_path": "x", "transformers_version": "4.9"},
    "old rotation": {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
    "rotation": {
        "rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 8} | _LLAMA3
    },
    "new rotation": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "gptq": {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}},
    "fp8": {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
    "remote code": {"auto_map": {"AutoConfig": "code.C"}, "architectures": ["TheirForCausalLM"]},
    "no class": {"architectures": None},
}


def planned(config: Config, folder: Path) -> int:
    """Parameters of the model that a command is given as a file."""
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return model_of(str(path)).elements


@pytest.mark.parametrize("form", FORMS)
def test_what_changes_no_shape_changes_no_model(form: str):
    plain = from_config(TINY["llama"], name="it")
    assert from_config(TINY["llama"] | FORMS[form], name="it") == plain
    assert trace(TINY["llama"] | FORMS[form], name="it").elements == plain.elements


@pytest.mark.parametrize("form", ["dtype", "gptq", "fp8", "remote code", "no class"])
def test_nor_that_of_a_class_without_a_reader(form: str):
    assert trace(CONFIGS["phi3"] | FORMS[form], name="it") == traced("phi3")


@pytest.mark.parametrize("head", ["ForSequenceClassification", "Model", "ForCausalLM"])
def test_the_class_that_a_config_names_is_counted(head: str, tmp_path: Path):
    config = TINY["llama"] | {"architectures": [f"Llama{head}"]}
    wanted = sum(p.numel() for p in made(config).parameters())
    assert planned(config, tmp_path) == wanted


def test_a_class_tells_the_kind_of_model_that_a_config_leaves_out(tmp_path: Path):
    config = {k: v for k, v in CONFIGS["bloom"].items() if k != "model_type"}
    assert planned(config, tmp_path) == traced("bloom").elements


def test_a_kind_with_another_name_for_a_known_class_is_that_class():
    other = CONFIGS["deepseek"] | {"model_type": "kimi_k2"}
    assert trace(other, name="it") == traced("deepseek")


def test_without_either_a_config_is_refused(tmp_path: Path):
    config = {k: v for k, v in TINY["llama"].items() if k != "model_type"}
    with pytest.raises(ValueError, match=r"model_type in the config must be one of .*no such key"):
        _ = planned(config, tmp_path)


def test_an_infinite_number_is_read_as_transformers_writes_it():
    written = {"time_step_limit": [0.0, {"__float__": "Infinity"}]}
    assert _cleaned(written, "it") == {"time_step_limit": [0.0, float("inf")]}
