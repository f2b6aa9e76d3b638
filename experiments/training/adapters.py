"""LoRA adapters of a run's model (arXiv:2106.09685), through PEFT."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from experiments.cli import json_object
from zo2rt.model.discovery import Blocks, block_lists, find_blocks
from zo2sim.checks import shown
from zo2sim.plan.choices import Recipe
from zo2sim.reading import read_text

CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_EXACT: dict[str, Any] = {"autocast_adapter_dtype": False}
"""Adapters keep the dtype of the weights, as the plan counts them."""


def base_of(name: str, folder: Path) -> str | None:
    """Where the model lies of which ``folder`` holds adapters; None where it holds no adapters.

    A name that is no folder here may be one in ``folder``.
    """
    if not (folder / CONFIG).is_file():
        return None
    path = folder / CONFIG
    base = json_object(read_text(path), where=str(path)).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ValueError(
            f"--model {name}: base_model_name_or_path of {CONFIG} must name the model that its "
            f"adapters belong to; got {shown(base)}"
        )
    if not any((folder / file).is_file() for file in _WEIGHTS):
        raise ValueError(
            f"--model {name}: a folder with {CONFIG} must hold the adapters' weights, "
            f"{' or '.join(_WEIGHTS)}; {folder} has neither"
        )
    beside = folder / base
    return str(beside) if not Path(base).is_dir() and beside.is_dir() else base


def tokenizer_of(folder: Path, base: str) -> str:
    """Where the tokenizer lies: beside the adapters, or else with their model."""
    return str(folder) if any(folder.glob("tokenizer*")) else base


def opened(model: Any, folder: Path) -> Any:
    """The model with the adapters of ``folder``, which alone train."""
    from peft import PeftModel  # takes seconds, and few runs need it

    with _quiet():
        return PeftModel.from_pretrained(model, folder, is_trainable=True, **_EXACT).eval()


def check_rank(name: str, adapted: Any, recipe: Recipe) -> None:
    """Raise ``ValueError`` where the recipe trains no adapters, or some of another rank."""
    config = adapted.peft_config["default"]
    came = getattr(config, "r", None)
    if came is None:
        raise ValueError(
            f"--model {name} must hold adapters that have a rank (LoRA); "
            f"got {config.peft_type.value}"
        )
    if came != recipe.lora_rank:
        raise ValueError(
            f"--model {name} holds adapters of rank {came}: --trainable must be lora:{came}; "
            f"got {recipe.trainable}"
        )


def added(
    model: Any, rank: int, seed: int, blocks: str | None = None, task: str = "CAUSAL_LM"
) -> Any:
    """The model with new adapters beside every linear layer of a block, which alone train.

    They change nothing yet (B = 0), and are the same for the same seed.
    """
    from peft import LoraConfig, get_peft_model  # takes seconds, and few runs need it

    layers = _linear_layers(model, blocks)
    transposed = any(isinstance(layer, Conv1D) for layer in layers.values())
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=[*layers],
        fan_in_fan_out=transposed,
        task_type=task,
    )
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        return get_peft_model(model, config, **_EXACT).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """PEFT calls transformers by names that will change, which is nothing to a user."""
    with catch_warnings():
        simplefilter("ignore", FutureWarning)
        yield


def _linear_layers(model: nn.Module, blocks: str | None) -> dict[str, nn.Module]:
    """Of the blocks, by their names in the model."""
    found = Blocks.at(model, *block_lists(model)) if blocks is None else find_blocks(model, blocks)
    return {
        name: module
        for name, module in model.named_modules()
        if found.block_of(name) is not None and isinstance(module, nn.Linear | Conv1D)
    }
