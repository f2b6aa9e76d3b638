"""What a model is shown while it is traced: one sequence of tokens, or what its class reads.

Decisions that a user should know of are sentences: `Inputs.notes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

_AS_MANY = "as many target tokens as source tokens, and sequence counts either"
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
    config, name = model.config, model.main_input_name
    tokens = _tokens(config, length)
    if name == "input_ids":
        if config.is_encoder_decoder:
            return Inputs(batch={name: tokens, "decoder_input_ids": tokens}, notes=(_AS_MANY,))
        return Inputs(batch={name: tokens})
    if name == "pixel_values":
        height, width = _pair(config.image_size)
        image = _empty(model, 1, config.num_channels, height, width)
        return Inputs(
            batch={name: image},
            notes=(f"a sequence is an image of {height} x {width}, whatever its length",),
        )
    if name == "input_features" and config.is_encoder_decoder:
        frames = 2 * config.max_source_positions
        return Inputs(
            batch={
                name: _empty(model, 1, config.num_mel_bins, frames),
                "decoder_input_ids": tokens,
            },
            notes=(f"every sequence hears {frames} frames of sound; its tokens are the target's",),
        )
    raise ValueError(
        f"{type(model).__name__} must read input_ids, pixel_values or a speech encoder's "
        f"input_features; it reads {name}"
    )


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
