"""A folder that is quantised is planned in its format where its blocks are frozen."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import plan
from tests.commands import call
from zo2sim.models.presets import config


def needs(*arguments: str) -> tuple[int, int]:
    """Bytes on the device and on the host."""
    found = call(plan, *arguments, "--json", "-").json
    return found["device_bytes"], found["host_bytes"]


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
WEIGHTS = {"num_bits": 8, "type": "int", "symmetric": True}
PACKED = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": WEIGHTS}},
}


@pytest.mark.parametrize(
    ("about", "dtype"),
    [
        (GPTQ, "int4"),
        ({**GPTQ, "sym": False}, "int4_asym"),
        ({"quant_method": "awq", "bits": 4}, "int4_asym"),
        (PACKED, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, None),
    ],
)
def test_a_quantised_folder_stays_in_its_format_beside_adapters(
    about: dict[str, Any], dtype: str | None, tmp_path: Path
):
    (tmp_path / "config.json").write_text(
        json.dumps({**config("llama-3-8b"), "quantization_config": about})
    )
    words = ("--model", str(tmp_path), "--machine", "rtx-4090-24gb", "--trainable", "lora:8")
    preset = ("--model", "llama-3-8b", *words[2:])
    chosen = () if dtype is None else ("--storage-dtype", dtype)
    assert needs(*words) == needs(*preset, *chosen)
    assert needs(*words, "--storage-dtype", "fp16") == needs(*preset)
    assert needs(*words[:4]) == needs(*preset[:4]), "all of it trains"
