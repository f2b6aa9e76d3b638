"""Names as people write them: letter case, separators and what need not be said do not matter.

Where a text has one reading, that is the name; where it has several, they are listed.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePath

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNIT = r"(?:gb|b|m)"
_APART = re.compile(rf"([0-9])[\s_-]+({_UNIT})\b")
_PARTS = re.compile(rf"{_NUMBER}{_UNIT}(?![a-z])|{_NUMBER}|[a-z]+")
_VENDOR = frozenset(("nvidia", "geforce", "tesla", "gpu"))  # part of a card's name, and of no key
_OTHER = frozenset(("ti", "super", "pro", "s", "a", "mini", "scout", "large", "laptop"))
"""Words without which a name is that of another product."""
_MOST = 6  # candidates that an error names
_LONGEST = 80  # characters that anybody types for a name
_FILES = (".toml", ".json")


def readings(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that a text may stand for: the one that it spells, or all that have its parts.

    ``RTX_4090 24GB`` spells rtx-4090-24gb; the parts of ``4090`` are in the names of several cards.
    Nothing that looks like a path stands for a name.
    """
    if len(text) > _LONGEST or text.startswith((".", "/", "~")) or text.endswith(_FILES):
        return ()
    parts = _parts(text)
    spelled = tuple(name for name in names if _parts(name) == parts)
    return spelled or tuple(name for name in names if parts and set(parts) <= {*_parts(name)})


def reading(text: str, names: Sequence[str]) -> str | None:
    """The one name that a text stands for: nothing is left out that makes it another product."""
    found = readings(text, names)
    if len(found) != 1 or _OTHER & ({*_parts(found[0])} - {*_parts(text)}):
        return None
    return found[0]


def suggestion(text: str, names: Sequence[str]) -> str:
    """The end of an error: ``; did you mean a-24gb or a-40gb?``; empty where nothing is close."""
    found = readings(text, names) or get_close_matches(_plain(text), names, n=3)
    if not found:
        return ""
    more = f" (and {len(found) - _MOST} more)" if len(found) > _MOST else ""
    return f"; did you mean {either(found[:_MOST])}{more}?"


def either(words: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _parts(text: str) -> list[str]:
    """Words, and numbers with their units: ``OPT-1.3 B`` is opt and 1.3b."""
    joined = _APART.sub(r"\1\2", text.lower())
    return [part for part in _PARTS.findall(joined) if part not in _VENDOR]


def _plain(text: str) -> str:
    return PurePath(text[:_LONGEST].lower().replace("_", "-").replace(" ", "-")).name
