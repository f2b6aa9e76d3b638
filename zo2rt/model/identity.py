"""What a forward reads beside the weights that a run trains, as digests: so that it stays the same.

Another frozen base, rotary table or activation gives other losses for the same trained weights.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from zo2rt.model.units import UnitParameter
from zo2rt.tensor_file import bytes_of

_NAMES_AND_VERSIONS = frozenset(
    {
        *("_name_or_path", "name_or_path", "transformers_version", "architectures"),
        *("dtype", "torch_dtype"),  # that of every parameter is the recipe's
    }
)
_OF_THE_MOMENT = ("training", "gradient_checkpointing", "warnings_issued")
_PLAIN = (bool, int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """SHA-256 of all that is not trained; ``config`` covers the structure of the model too."""

    frozen_parameters: str
    buffers: str
    config: str

    @classmethod
    def of(
        cls,
        model: nn.Module,
        parameters: Iterable[UnitParameter],
        weights: Callable[[UnitParameter], Tensor] = lambda p: p.tensor.data,
    ) -> Self:
        """Reads every frozen weight once, where it lies."""
        frozen = ((p.name, weights(p)) for p in parameters if not p.trainable)
        return cls(
            frozen_parameters=_digest(frozen),
            buffers=_digest(model.named_buffers()),
            config=hashlib.sha256(_described(model).encode()).hexdigest(),
        )


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode())
        total.update(bytes_of(tensor))
    return total.hexdigest()


def _described(model: nn.Module) -> str:
    """The config where there is one, and of every module its class and its plain numbers."""
    config = getattr(model, "config", None)
    told = getattr(config, "to_dict", None)
    fields = told() if callable(told) else {}
    return json.dumps(
        {
            "config": _without_names(fields),
            "attention": getattr(config, "_attn_implementation", None),
            "modules": [(n, type(m).__name__, _numbers(m)) for n, m in model.named_modules()],
        },
        sort_keys=True,
        default=lambda value: type(value).__name__,
    )


def _without_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _without_names(v) for k, v in value.items() if k not in _NAMES_AND_VERSIONS}
    return sorted(value, key=repr) if isinstance(value, set) else value


def _numbers(module: nn.Module) -> dict[str, Any]:
    """What hides in attributes: LoRA's scaling, the epsilon of a norm."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in _OF_THE_MOMENT and _is_plain(value)
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and isinstance(v, _PLAIN) for k, v in value.items())
    return isinstance(value, _PLAIN)
