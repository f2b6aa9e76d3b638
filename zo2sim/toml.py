"""TOML, of which the standard library only reads: values, tables, and a text cut into its tables.

Every file that the project writes for people to edit is made of `table`.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from io import StringIO
from typing import Any, cast

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parse(text: str, *, must: str = "must be TOML") -> dict[str, Any]:
    """What a text holds. Raises ``ValueError``, ``must`` and the reason in one line."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a deep nest exhausts the parser's stack
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ValueError(f"{must}; {reason}") from None


def table(name: str, items: Mapping[str, object]) -> str:
    """A table with its header; what is None is left out."""
    return "\n".join([f"[{name}]", *_rows(items)])


def headed(text: str) -> list[str]:
    """The text cut before the header of every table; all pieces make the text again.

    A line that begins with a bracket is a header where the table before it is whole: it is none
    within a list or a string of several lines.
    """
    pieces = [""]
    for line in StringIO(text):
        if line.lstrip().startswith("[") and _is_whole(pieces[-1]):
            pieces.append("")
        pieces[-1] += line
    return pieces


def _is_whole(piece: str) -> bool:
    try:
        parse(piece)
    except ValueError:
        return False
    return True


def _rows(items: Mapping[str, object]) -> list[str]:
    return [f"{_key(key)} = {_value(item)}" for key, item in items.items() if item is not None]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(item: object) -> str:
    """A basic string has JSON's escapes, and DEL, which TOML wants escaped too."""
    match item:
        case bool():
            return str(item).lower()
        case int() | float() | Decimal():
            return str(item)
        case str():
            return json.dumps(str(item), ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return f"{{ {', '.join(_rows(cast(Mapping[str, object], item)))} }}"
        case _:
            return f"[{', '.join(map(_value, cast(Iterable[object], item)))}]"
