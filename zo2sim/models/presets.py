"""Published models by name: configs in presets.toml, shapes in data/models, with their sources."""

import json
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import cast

from zo2sim.dtypes import Dtype
from zo2sim.models import file
from zo2sim.models.config import from_config, name_of, read, unread
from zo2sim.models.config.stored import stored_dtype
from zo2sim.models.shapes import Model
from zo2sim.spelling import reading, suggestion

_TRACED = files("zo2sim") / "data" / "models"
_ID_OF = "config.json of "
_SUFFIXES = {":tied": True, ":untied": False}


def names() -> tuple[str, ...]:
    """Every preset, family by family, from small to large."""
    return tuple(_configs())


@cache
def traced() -> tuple[str, ...]:
    """Presets of families that no reader knows, by name: files of `zo2sim.models.file`."""
    names = (entry.name for entry in _TRACED.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def every() -> tuple[str, ...]:
    """All of them."""
    return (*names(), *traced())


@cache
def _shipped(name: str, tied: bool | None) -> Model:
    model = file.parse(json.loads((_TRACED / f"{name}.json").read_text("utf-8")), where=name)
    if tied and not model.tied:
        raise ValueError(f"{name}: the embedding must be tied to be used so; leave :tied out")
    return model.untied() if tied is False else model


def config(name: str) -> dict[str, object]:
    """The fields of a preset's config.json, with the id under which it is published."""
    if name not in _configs():
        raise ValueError(f"model must be one of {', '.join(names())}; got {name!r}")
    return dict(_configs()[name])


def preset(name: str, *, tied: bool | None = None) -> Model:
    """The model of that name, with embeddings tied as published; built once.

    ``tied``, or a suffix ``:tied`` or ``:untied`` of the name, overrides that: ZO2's memory rows
    were measured on OPT with an LM head of its own. Raises ``ValueError`` for an unknown name.
    """
    plain, suffix = _split(name)
    if tied is not None and suffix is not None and tied != suffix:
        raise ValueError(f"{name}: the suffix and tied must agree; got tied={tied}")
    return _build(plain, suffix if tied is None else tied)


@cache
def _build(name: str, tied: bool | None) -> Model:
    fields = config(name)
    published = from_config(fields, name=name)
    if tied is None or tied == published.tied:
        return published
    suffix = ":tied" if tied else ":untied"
    return from_config(fields | {"tie_word_embeddings": tied}, name=name + suffix)


def resolve(text: str) -> Model:
    """The model that a command line names.

    ``text`` is a preset, the Hugging Face id of one, a folder, a config.json, or a model's file
    (`zo2sim.models.file`); a preset may be spelled as in `zo2sim.spelling`. Raises ``ValueError``
    for anything else: nothing is ever downloaded.
    """
    known = _known(text)
    if known is not None:
        plain, suffix = known
        return _shipped(plain, suffix) if plain in traced() else preset(plain, tied=suffix)
    content = _content(text)
    if file.is_model(content):
        return file.parse(content, where=text)
    return from_config(cast("dict[str, object]", content), name=name_of(text))


def resolve_config(text: str) -> dict[str, object] | None:
    """The fields of the config.json of what `resolve` takes; None where no reader knows them.

    Raises ``ValueError`` where there is no such preset or file.
    """
    known = _known(text)
    if known is not None:
        plain, suffix = known
        changed = {} if suffix is None else {"tie_word_embeddings": suffix}
        return None if plain in traced() else config(plain) | changed
    content = _content(text)
    if file.is_model(content) or unread(content):
        return None
    _ = resolve(text)
    return dict(cast("dict[str, object]", content))


def foreign_config(text: str) -> dict[str, object] | None:
    """The fields of a config.json of a model that no reader knows, if that is what it names."""
    content = read(text) if _known(text) is None and _exists(text) else None
    known = file.is_model(content) or not unread(content)
    return None if known else dict(cast("dict[str, object]", content))


def storage_of(text: str) -> Dtype | None:
    """The integer format that the folder or config that a text names has its weights in, if any."""
    content = read(text) if _known(text) is None and _exists(text) else None
    return stored_dtype(cast("dict[str, object]", content)) if isinstance(content, dict) else None


def _content(text: str) -> object:
    if _exists(text):
        return read(text)
    raise ValueError(
        "model must be a preset, a folder that holds a config.json, a config.json, or a file that "
        f"plan --write-model wrote; got {text!r}, and configs are not downloaded: give the folder "
        f"or config.json{suggestion(_split(text)[0], every())} (zo2sim models lists the presets)"
    )


def _known(text: str) -> tuple[str, bool | None] | None:
    """The preset that a text names, and its suffix: as it is, as an id, or as it is spelled.

    A file or a folder comes before a name that is only like its own.
    """
    plain, suffix = _split(text)
    plain = _ids().get(plain, plain)
    if plain in every():
        return plain, suffix
    if _exists(text):
        return None
    if "/" in plain and plain in _traced_ids():
        return _traced_ids()[plain], suffix
    found = reading(plain, every()) or reading(plain, tuple(_ids()))
    return None if found is None else (_ids().get(found, found), suffix)


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long, or a null character
        return False


def _split(name: str) -> tuple[str, bool | None]:
    for suffix, tied in _SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), tied
    return name, None


@cache
def _configs() -> dict[str, dict[str, object]]:
    configs: dict[str, dict[str, object]] = {}
    for group in _groups().values():
        common = cast("dict[str, object]", group["common"])
        models = cast("dict[str, dict[str, object]]", group["models"])
        configs |= {name: common | fields for name, fields in models.items()}
    return configs


@cache
def _ids() -> dict[str, str]:
    """Names by Hugging Face id."""
    return {str(config["id"]): name for name, config in _configs().items() if "id" in config}


@cache
def _traced_ids() -> dict[str, str]:
    """The same of the traced ones, whose notes begin with it."""
    firsts = ((_shipped(name, None).notes[0], name) for name in traced())
    return {note.removeprefix(_ID_OF).split()[0]: name for note, name in firsts}


def _groups() -> dict[str, dict[str, object]]:
    return tomllib.loads(
        files("zo2sim").joinpath("models/presets.toml").read_text(encoding="utf-8")
    )
