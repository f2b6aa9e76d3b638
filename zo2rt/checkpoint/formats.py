"""What the files of a folder hold, as tensors of the model that transformers builds.

A format takes the tensors of the files and gives those of a checkpoint without it, each made when
it is read: a quantised layer is several tensors in the files, and one ``weight`` behind them. So
nothing after this room needs to know in what form a checkpoint came. A new format is a function
like `plain`, and a row of `FORMATS`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zo2rt.checkpoint.folder import shard_files, stored_tensors
from zo2rt.checkpoint.quantised import QUANTISED, quantised
from zo2rt.checkpoint.stored import Tensors

Format = Callable[[Mapping[str, Any], Tensors], Tensors | None]
"""Of config.json and the tensors in the files; None where the checkpoint is of another format."""


class NotByShard(ValueError):
    """Only ``from_pretrained`` can load the folder, all of it at once; says why in half a line."""


def plain(config: Mapping[str, Any], tensors: Tensors) -> Tensors | None:
    """Floating-point weights under the names that the model's class, or transformers, knows."""
    return None if any(config.get(key) is not None for key in QUANTISED) else tensors


FORMATS: tuple[Format, ...] = (plain, quantised)


def opened(folder: Path, config: Mapping[str, Any]) -> Tensors:
    """The tensors of a folder, in the first format that knows it; their bytes stay on disk.

    Raises `NotByShard` where none does or the weights are in no safetensors file, and
    ``ValueError`` naming what is missing, torn or there twice.
    """
    if config.get("transformers_weights") is not None:
        raise NotByShard("its config names a weights file of its own")
    if not shard_files(folder):
        raise NotByShard("its weights are in no safetensors file")
    tensors = stored_tensors(folder)
    for form in FORMATS:
        found = form(config, tensors)
        if found is not None:
            return found
    raise NotByShard("its weights are quantised")
