"""The model of a checkpoint as ``from_pretrained`` builds it, with no memory for what is stored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _get_model_class

from zo2rt.checkpoint.keys import Keys
from zo2rt.checkpoint.stored import Tensors

_OF_A_HUB: dict[str, Any] = {
    "cache_dir": None,
    "force_download": False,
    "proxies": None,
    "local_files_only": True,
    "token": None,
    "revision": "main",
    "subfolder": "",
}


def built(
    kind: Any, folder: Path, config: PreTrainedConfig, tensors: Tensors, dtype: torch.dtype
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """On the meta device, and what transformers found out about names and shapes."""
    kind, config = _class(kind, config)
    model, info = kind.from_pretrained(
        None,
        config=config,
        state_dict={name: one.empty for name, one in tensors.items()},
        dtype=dtype,
        device_map="meta",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        local_files_only=True,
    )
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.name_or_path in (None, "None"):
            module.name_or_path = module.config.name_or_path = str(folder)
    if model.can_generate():
        model.adjust_generation_fn(
            None, True, None, str(folder), trust_remote_code=False, **_OF_A_HUB
        )
    return model, info


def complete(model: PreTrainedModel, keys: Keys) -> None:
    """Give the model what is no stored parameter: its ties, its buffers, and what is missing.

    Two parameters that the config ties and the files both hold are tied where they are equal.
    Buffers that are stored are read, others (rotary tables) are computed, and parameters that the
    folder lacks are drawn, all by transformers' own code.
    """
    _tie_equal(model, keys)
    state = model.state_dict(keep_vars=True)
    stored = {id(state[name]) for name in keys.sources}
    absent = {name for name, t in state.items() if t.device.type == "meta" and id(t) not in stored}
    for module in model.modules():
        vars(module)["_is_hf_initialized"] = False  # of what is on meta, nothing was computed
    model._move_missing_keys_from_meta_to_device(absent, None, None, None)  # type: ignore[arg-type]
    for name, buffer in [*model.named_buffers()]:
        if name in keys.sources:
            _set(model, name, _marked(keys.read(name).to(buffer.dtype)))
    model._initialize_missing_keys(False)


def _class(kind: Any, config: PreTrainedConfig) -> tuple[Any, PreTrainedConfig]:
    """Of an Auto class, what it stands for; of a composite config, what that class is made of."""
    mapping = getattr(kind, "_model_mapping", None)
    if mapping is None:
        return kind, config
    if type(config) not in mapping:
        raise ValueError(f"{kind.__name__} has no class for {type(config).__name__}")
    found = _get_model_class(config, mapping)
    text = config.sub_configs.get("text_config")
    inner = text is not None and found.config_class == text
    return found, config.get_text_config() if inner else config


def _tie_equal(model: PreTrainedModel, keys: Keys) -> None:
    for target, source in [*model.all_tied_weights_keys.items()]:
        there = target in keys.sources and source in keys.sources
        if not there or model.get_parameter(target) is model.get_parameter(source):
            continue
        if torch.equal(keys.read(target), keys.read(source)):
            _set(model, target, model.get_parameter(source))
        else:
            model.all_tied_weights_keys.pop(target)


def _marked(tensor: Tensor) -> Tensor:
    """Not to be computed."""
    tensor._is_hf_initialized = True  # type: ignore[attr-defined]
    return tensor


def _set(model: PreTrainedModel, name: str, tensor: Tensor) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, tensor)
