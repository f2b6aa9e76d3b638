"""Command lines: the words that were typed become a command's dataclass, or one line that says why
not."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

from experiments.entry.defaults import checked_quickly
from experiments.entry.flags import Particular, typed

C = TypeVar("C")

_HELP = ("For full helptext", "Argument helptext")  # where the parser's message ends
_MEANT = ("Perhaps you meant", "Arguments similar to")  # before flags with their help texts
_WHOSE = "Error parsing Config: "
"""The parser's words before those of a setting's own check, which say enough."""
_RULES = ConstructorRegistry()
_MOST_LETTERS = 4096
"""As many as a path may have."""


def parse(
    config: Callable[..., C], argv: Sequence[str] | None = None, *, prog: str | None = None
) -> C:
    """The command's dataclass from its flags. Raises ``ValueError`` with one line.

    A flag that has no effect beside the others is refused. Words before the first flag are values
    of those that the dataclass has as ``NAMED``: a model, then a machine.
    """
    words = _spelled_out(config, sys.argv[1:] if argv is None else argv)
    longest = max(map(len, words), default=0)
    if longest > _MOST_LETTERS:  # which the parser would compare with every flag, letter by letter
        raise ValueError(f"a word must have at most {_MOST_LETTERS} letters; one has {longest}")
    parsed = _parsed(config, words, prog or typed_command())
    return parsed.typed(typed(words)) if isinstance(parsed, Particular) else parsed


def typed_command() -> str:
    """What was typed to come here: ``python -m experiments.plan``, or the name of a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (
        Path(sys.argv[0]).name
        if spec is None
        else f"python -m {spec.name.removesuffix('.__main__')}"
    )


def _spelled_out(config: object, words: Sequence[str]) -> list[str]:
    """With the flags of values that stand alone; other commands take such words as they are."""
    names: tuple[str, ...] = getattr(config, "NAMED", ())
    if not names:
        return list(words)
    first = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
    if first > len(names):
        raise ValueError(
            f"words but for the values of {' and '.join(names)} must begin with --; "
            f"got {words[len(names)]!r}"
        )
    pairs = tuple(zip(names, words[:first], strict=False))
    for name, word in pairs:
        if name in typed(words[first:]):
            raise ValueError(f"{name} must be given once; {word!r} stands for it already")
    return [part for pair in pairs for part in pair] + list(words[first:])


def _parsed(config: Callable[..., C], words: Sequence[str], prog: str) -> C:
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message), _RULES, checked_quickly():
            return tyro.cli(
                config,
                prog=prog,
                args=words,
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.EnumChoicesFromValues,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_helped(_one_line(message.getvalue()), prog)) from None


def _helped(message: str, prog: str) -> str:
    """With where the flags are listed, where the parser knows none that was meant."""
    lost = message.startswith("Unrecognized options") and "did you mean" not in message
    return f"{message}; {prog} --help lists the flags" if lost else message


@_RULES.primitive_rule
def _optional(
    info: PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    """A value that may be left out is typed as any other; None is no word of a command line."""
    options = get_args(info.type)
    if info.type_origin not in (Union, UnionType) or NoneType not in options or len(options) != 2:
        return None
    kind = next(option for option in options if option is not NoneType)
    own = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    if isinstance(own, UnsupportedTypeAnnotationError):
        return own
    return replace(
        own,
        is_instance=lambda value: value is None or own.is_instance(value),
        str_from_instance=lambda value: (
            ["unset"] if value is None else own.str_from_instance(value)
        ),
    )


def _one_line(box: str) -> str:
    """The message inside the frame that the parser draws, in box characters or in ASCII."""
    lines = [re.sub(r"[╭╮╰╯│─]+|-{5,}", " ", line).strip() for line in box.splitlines()]
    body = [line for line in lines[1:] if line]
    stop = next((i for i, line in enumerate(body) if line.startswith(_HELP)), None)
    said = [*takewhile(lambda line: not line.startswith(_MEANT), body[:stop])]
    meant = [line.split()[0] for line in body[len(said) : stop] if line.startswith("--")]
    words = " ".join(said).removeprefix(_WHOSE)
    return words + (f"; did you mean {' or '.join(meant)}?" if meant else "")
