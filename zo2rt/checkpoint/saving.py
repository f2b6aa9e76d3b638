"""A model's folder as ``save_pretrained`` writes it, from weights that are never all in memory."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import (
    remove_tied_weights_from_state_dict,
    split_torch_state_dict_into_shards,  # pyright: ignore[reportPrivateImportUsage]
)
from transformers.utils import logging

from zo2rt.checkpoint.folder import INDEX, WHOLE
from zo2rt.checkpoint.later import Later
from zo2rt.checkpoint.shard import write
from zo2rt.checkpoint.stored import Stored
from zo2sim.memory.account import SHARD_BYTES

Weights = Mapping[nn.Parameter, Stored]
"""What the parameters of a model are to be written as; of others, what they hold."""

_TEMPORARY = ".tmp"
_OF_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")


def save(
    model: PreTrainedModel, folder: Path, weights: Weights, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Every file is byte for byte the one of ``model.save_pretrained`` with these weights.

    But parts of a tensor that the model has fused (experts) may be in several files. One of the
    weights is in memory at a time. A folder that is there has its old weights until all new ones
    are written; a process that ends in between leaves temporary files, which the next call removes,
    and where it ends while they are renamed no index, so nobody reads a mixture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    state = _state(model, weights)
    split = split_torch_state_dict_into_shards(state, max_shard_size=shard_bytes)
    with ExitStack() as undone:
        undone.callback(_clear, folder)
        for name, members in split.filename_to_tensors.items():
            write(folder / (name + _TEMPORARY), {one: state[one] for one in members})
        if split.is_sharded:
            _write_index(folder, split, _num_elements(model, weights))
        with _without_bar():
            model.save_pretrained(folder, state_dict={})  # all but the weights
        _publish(folder, [*split.filename_to_tensors])


@contextmanager
def _without_bar() -> Iterator[None]:
    """That of no files would be shown."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _write_index(folder: Path, split: Any, num_elements: int) -> None:
    metadata = {"total_parameters": num_elements, **split.metadata}
    index = {"metadata": metadata, "weight_map": split.tensor_to_filename}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / (INDEX + _TEMPORARY)).write_text(text, encoding="utf-8")


def _state(model: PreTrainedModel, weights: Weights) -> dict[str, Any]:
    """What is to be in the files: without ties, under the names and in the shapes of files."""
    ignored = {*(model._keys_to_ignore_on_save or ())}
    state: dict[str, Any] = {
        name: _later(tensor, weights)
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name not in ignored
    }
    return revert_weight_conversion(model, remove_tied_weights_from_state_dict(state, model))


def _later(tensor: Any, weights: Weights) -> Later:
    one = weights.get(tensor)
    if one is None:
        return Later.of(tensor.shape, tensor.dtype, lambda: tensor.detach())
    return Later.of(one.shape, one.dtype, one.read)


def _num_elements(model: PreTrainedModel, weights: Weights) -> int:
    return sum(_later(p, weights).numel() for p in model.parameters())


def _publish(folder: Path, names: list[str]) -> None:
    """See `save`."""
    if names != [WHOLE]:
        for name in (WHOLE, INDEX):
            (folder / name).unlink(missing_ok=True)
    for name in names:
        (folder / (name + _TEMPORARY)).replace(folder / name)
    if names == [WHOLE]:
        (folder / INDEX).unlink(missing_ok=True)
    else:
        (folder / (INDEX + _TEMPORARY)).replace(folder / INDEX)
    for path in folder.iterdir():
        if _OF_WEIGHTS.fullmatch(path.name) and path.name not in names:
            path.unlink()


def _clear(folder: Path) -> None:
    for path in folder.glob(f"model*{_TEMPORARY}"):
        if path.name == INDEX + _TEMPORARY or _OF_WEIGHTS.fullmatch(path.stem):
            path.unlink()
