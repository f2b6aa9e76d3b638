"""The safetensors files of a model's folder, and every tensor in them by its name.

As ``from_pretrained`` has it: ``model.safetensors``, or else the files that
``model.safetensors.index.json`` names, and all that is in them.
"""

import json
from pathlib import Path
from typing import Any

from zo2rt.checkpoint.file import tensors
from zo2rt.checkpoint.stored import Stored
from zo2sim.checks import shown
from zo2sim.reading import read_text

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def shard_files(folder: Path) -> tuple[Path, ...]:
    """The files with weights, none where the folder has other ones or no weights.

    Raises ``ValueError`` where the index is none, or names what is not beside it.
    """
    if (folder / WHOLE).is_file():
        return (folder / WHOLE,)
    if not (folder / INDEX).is_file():
        return ()
    return tuple(folder / name for name in sorted(set(_index(folder).values())))


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor; raises ``ValueError`` naming what is missing, torn or there twice."""
    found: dict[str, Stored] = {}
    for path in shard_files(folder):
        for name, one in tensors(path).items():
            if name in found:
                raise ValueError(
                    f"{folder}: {name} must be in one shard; it is in {found[name].files[0].name} "
                    f"and in {path.name}"
                )
            found[name] = one
    if not (folder / WHOLE).is_file():
        _check_index(folder, found)
    return found


def _check_index(folder: Path, found: dict[str, Stored]) -> None:
    for name, shard in _index(folder).items():
        if name not in found:
            raise ValueError(
                f"{folder / shard}: must hold {name}, as {INDEX} says; it has no such tensor; "
                f"copy or download both again"
            )


def _index(folder: Path) -> dict[str, str]:
    path = folder / INDEX
    try:
        fields: Any = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: must be JSON; {error}") from None
    named: Any = fields.get("weight_map") if isinstance(fields, dict) else None
    if not isinstance(named, dict) or not named:
        raise ValueError(f"{path}: must have a weight_map, names of tensors by file; it has none")
    for shard in named.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise ValueError(f"{path}: a shard must be a file beside it; got {shown(shard)}")
        if not (folder / shard).is_file():
            raise ValueError(f"{folder / shard}: must be there, as {INDEX} says; it is missing")
    return named
