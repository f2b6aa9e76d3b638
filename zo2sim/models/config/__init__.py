"""Models from Hugging Face configs: `from_config` is pure, `load` reads a config.json.

Names and shapes are those of the `AutoModelForCausalLM` class of transformers 5 for the family.
`zo2sim.models.config.parts` states how activation traffic and kernel launches are counted.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from zo2sim.models.config import gpt2, llama, opt
from zo2sim.models.config.fields import Fields
from zo2sim.models.shapes import Model
from zo2sim.reading import read_text

_FAMILIES: dict[str, Callable[[Fields], Model]] = {
    "opt": opt.build,
    "gpt2": gpt2.build,
    **dict.fromkeys(llama.FAMILIES, llama.build),
}

_CLASSES = ("ForCausalLM", "LMHeadModel")
"""How the classes that are read are called."""
MOST_BYTES = 16 << 20
"""Larger files are not read."""

FAMILIES = tuple(sorted(_FAMILIES))
"""Every ``model_type`` that `from_config` reads."""


def from_config(config: Mapping[str, object], *, name: str) -> Model:
    """The model that a config.json describes; ``name`` is what reports and errors call it.

    Keys that the family does not use are ignored. An absent optional key takes the default of the
    transformers config class. Raises ``ValueError``, in one line, for anything malformed.
    """
    if not isinstance(config, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{name}: a config must be a JSON object; got {type(config).__name__}")
    fields = Fields(config, name)
    return _FAMILIES[fields.choice("model_type", FAMILIES)](fields)


def load(path: str | Path) -> Model:
    """The model of a config.json, or of a folder that holds one; named after the folder or file.

    Raises ``ValueError`` when there is no such file or it is not a config.
    """
    return from_config(cast("Mapping[str, object]", read(path)), name=name_of(path))


def unread(config: object) -> bool:
    """Whether a config is of a kind of model that no reader knows, or of another of its classes."""
    if not isinstance(config, Mapping):
        return False
    fields = cast("Mapping[str, object]", config)
    kind, named = fields.get("model_type"), fields.get("architectures")
    first = next(iter(cast("list[object]", named)), None) if isinstance(named, list) else None
    if isinstance(kind, str) and kind not in FAMILIES:
        return True
    return isinstance(first, str) and (kind is None or not first.endswith(_CLASSES))


def read(path: str | Path) -> object:
    """The content of a config.json, or of that of a folder; raises ``ValueError`` as `load`."""
    try:
        return json.loads(read_text(_file(path), MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: must be a readable config.json or a folder that holds one; got {reason}"
        ) from error


def _file(path: str | Path) -> Path:
    return Path(path) / "config.json" if Path(path).is_dir() else Path(path)


def name_of(path: str | Path) -> str:
    """What a config's model is called: the name of the folder or file."""
    file = _file(path)
    return file.absolute().parent.name if file.name == "config.json" else file.stem
