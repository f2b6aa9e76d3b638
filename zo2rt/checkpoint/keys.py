"""Which tensors of a checkpoint make up which parameter: transformers' own table, asked per name.

Checkpoints of older or other code have other names, or one tensor for several parameters, or
several for one (experts); `transformers.conversion_mapping` says so. What it says is done here for
one parameter at a time, in the order of `convert_and_load_state_dict_in_model`: rename, cast,
convert.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from zo2rt.checkpoint.stored import Stored, Tensors

Step = Any  # WeightRenaming or WeightConverter, whose types transformers leaves open


@dataclass(frozen=True, slots=True)
class Source:
    """Stored tensors, each with the pattern that it matches, and the step that makes parameters
    of them; ``first`` is the name under which transformers runs the step."""

    first: str
    step: Step
    parts: list[tuple[str, Stored]]

    def made(
        self, model: PreTrainedModel, tensor_of: Callable[[Stored], Tensor]
    ) -> Mapping[str, Tensor]:
        """Every parameter or buffer that comes of it, by name."""
        step = deepcopy(self.step)
        for pattern, one in self.parts:
            step.add_tensor(self.first, one.name, pattern, partial(tensor_of, one))
        made = step.convert(self.first, model=model, config=model.config)
        return {name: t[0] if isinstance(t, list) else t for name, t in made.items()}


@dataclass(frozen=True, slots=True)
class Keys:
    """By name, what each parameter and buffer of a model is read from."""

    model: PreTrainedModel
    sources: Mapping[str, Source]
    dtypes: Mapping[str, torch.dtype]

    @classmethod
    def of(cls, model: PreTrainedModel, tensors: Tensors) -> Self:
        """``model`` is as ``from_pretrained`` made it of these tensors, on the meta device."""
        state = model.state_dict()
        firsts = _sources(model, state, tensors)
        sources = {
            name: source
            for source in firsts
            for name in source.made(model, lambda one: one.empty)
            if name in state
        }
        return cls(model, sources, {s.first: state[s.first].dtype for s in firsts})

    def stored(self, name: str) -> Iterable[Stored]:
        """What is read for it."""
        return (one for _, one in self.sources[name].parts)

    def read(self, name: str) -> Tensor:
        """The parameter or buffer, bit for bit as ``from_pretrained`` gives it."""
        source = self.sources[name]
        dtype = self.dtypes[source.first]
        return source.made(self.model, lambda one: one.read().to(dtype))[name]


def _sources(
    model: PreTrainedModel, state: Mapping[str, Tensor], tensors: Tensors
) -> tuple[Source, ...]:
    table: list[Step] = get_model_conversion_mapping(model)
    renamings = [one for one in table if isinstance(one, WeightRenaming)]
    converters = [one for one in table if isinstance(one, WeightConverter)]
    meant = {"base_model_prefix": model.base_model_prefix, "meta_state_dict": state}
    found: dict[str, Source] = {}
    for name in sorted(tensors, key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, **meant)
        if target not in state and name in state:
            target, pattern = rename_source_key(name, [], [], **meant)
        if target not in state:
            continue  # its class has no place for it
        step: Step = next((c for c in converters if pattern in c.source_patterns), None)
        if pattern is None:
            step = WeightRenaming(name, target)
        source = found.setdefault(target, Source(target, step, []))
        source.parts.append((pattern or name, tensors[name]))
    return tuple(found.values())
