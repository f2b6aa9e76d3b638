"""What a model is shown while it is traced: one sequence of tokens, or what its class reads.

Decisions that a user should know of are sentences: `Inputs.notes`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

_AS_MANY = "as many target tokens as source tokens, and sequence counts either"
_Read = tuple[dict[str, Any], tuple[str, ...]]
_SIDE = 224
"""Pixels of an image where the config names no size, which is so of convolutions."""
_SAMPLES = 160_000
"""Ten seconds of sound at 16 kHz, where the config does not say how long a frame is."""
_SPECIAL = ("_token_id", "_token_index", "_index", "_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Keyword arguments of the model's forward, and what was decided about them.

    Results come as a tuple: how a class names them is nothing that trains.
    """

    batch: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch", {**self.batch, "return_dict": False})


def inputs(model: PreTrainedModel, length: int) -> Inputs:
    """One sequence of ``length`` tokens, where the model reads tokens.

    Images and sound have the size that the config gives them. Raises ``ValueError`` for a model
    that reads something else.
    """
    name = model.main_input_name
    if name not in _READ:
        raise ValueError(f"{type(model).__name__} must read {', '.join(_READ)}; it reads {name}")
    read, notes = _READ[name](model, length)
    if model.config.is_encoder_decoder:
        read["decoder_input_ids"] = _tokens(model.config, length)
    elif name != "input_ids" and "input_ids" in signature(model.forward).parameters:
        read["input_ids"] = _tokens(model.config, length)
    return Inputs(batch=read, notes=notes)


def _text(model: PreTrainedModel, length: int) -> _Read:
    notes = (_AS_MANY,) if model.config.is_encoder_decoder else ()
    tokens, end = _tokens(model.config, length), getattr(model.config, "eos_token_id", None)
    if notes and isinstance(end, int):
        tokens[:, -1] = end  # where a classifier of such models looks
    return {"input_ids": tokens}, notes


def _image(model: PreTrainedModel, length: int) -> _Read:
    height, width = _pair(_of_images(model.config, "image_size", _SIDE))
    channels = _of_images(model.config, "num_channels", 3)
    return (
        {"pixel_values": _empty(model, 1, channels, height, width)},
        (f"a sequence is an image of {height} x {width}, whatever its length",),
    )


def _of_images(config: Any, field: str, default: int) -> Any:
    """A field of the config, or of its part about images."""
    parts = config, getattr(config, "vision_config", None)
    return next((n for part in parts if (n := getattr(part, field, None)) is not None), default)


def _spectrum(model: PreTrainedModel, length: int) -> _Read:
    """Two frames make a position, but four where the encoder's first layers are convolutions."""
    config = model.config
    if not config.is_encoder_decoder:
        raise ValueError(f"{type(model).__name__} must be an encoder and a decoder of sound")
    channels = getattr(config, "num_mel_bins", None)
    if channels is None:
        frames = config.max_source_positions
        shape = frames, config.input_feat_per_channel
    else:
        frames = 2 * config.max_source_positions
        shape = channels, frames
    return (
        {"input_features": _empty(model, 1, *shape)},
        (f"every sequence hears {frames} frames of sound; its tokens are the target's",),
    )


def _sound(model: PreTrainedModel, length: int) -> _Read:
    """As many samples as make ``length`` frames, where the config says how they are made."""
    kernels = getattr(model.config, "conv_kernel", None)
    if kernels is None:
        return (
            {"input_values": _empty(model, 1, _SAMPLES)},
            (f"every sequence hears {_SAMPLES:,} samples; its tokens are the target's",),
        )
    samples, every = length, prod(model.config.conv_stride)
    for kernel, stride in zip(reversed(kernels), reversed(model.config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return (
        {"input_values": _empty(model, 1, samples)},
        (f"a sequence's length is counted in frames of {every} samples",),
    )


_READ: Mapping[str, Callable[[PreTrainedModel, int], _Read]] = {
    "input_ids": _text,
    "pixel_values": _image,
    "input_features": _spectrum,
    "input_values": _sound,
}


def _tokens(config: PreTrainedConfig, length: int) -> Tensor:
    """An ordinary token, over and over: none that stands for an image, padding or an end."""
    special = _special(config.to_dict())
    token = next(number for number in range(1, len(special) + 2) if number not in special)
    return torch.full((1, length), token)


def _special(fields: Mapping[str, Any]) -> set[int]:
    found: set[int] = set()
    for key, value in fields.items():
        if isinstance(value, Mapping):
            found |= _special(value)
        elif str(key).endswith(_SPECIAL):
            found |= {n for n in (value if isinstance(value, list) else [value]) if type(n) is int}
    return found


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _empty(model: PreTrainedModel, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=model.dtype, device="meta")
