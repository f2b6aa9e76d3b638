"""Sealed lines: text whose every byte is covered by a checksum that also covers all before it.

A line is ``{"sha256": "<digest>", "body": <JSON>}`` and a newline. The digest is SHA-256 over the
digest before it and the body, so a changed, missing, added or reordered line breaks the chain.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

_START, _MIDDLE, _END = b'{"sha256": "', b'", "body": ', b"}\n"
_BODY = len(_START) + 64 + len(_MIDDLE)

FIRST = ""
"""What comes before the first line of a chain."""


class DamageError(ValueError):
    """Bytes on disk that are not what was written. The message names the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A point in a run: ``step`` records have been applied; ``sha256`` covers all of them.

    So ``step`` is also the number of the next step.
    """

    step: int
    sha256: str


class Sealed(NamedTuple):
    """The content of a line and its digest."""

    content: Any
    sha256: str


def digest(before: str, body: bytes) -> str:
    """64 hexadecimal digits over everything up to and including ``body``."""
    return hashlib.sha256(before.encode() + b"\n" + body).hexdigest()


def seal(before: str, content: object) -> bytes:
    """The line for ``content``, which must be JSON without floats (they travel as hex text)."""
    body = canonical(content)
    return _START + digest(before, body).encode() + _MIDDLE + body + _END


def unseal(before: str, line: bytes) -> Sealed | None:
    """What `seal` was given, or None when the line is damaged or does not follow ``before``."""
    body = line[_BODY : -len(_END)]
    sha256 = digest(before, body)
    if line != _START + sha256.encode() + _MIDDLE + body + _END:
        return None
    return Sealed(json.loads(body), sha256)


def is_torn(line: bytes) -> bool:
    """Whether the last line of a file is what a crash leaves of one write: not a whole line.

    A whole line with a wrong digest is no torn write, and neither are two lines run together.
    """
    return line.count(_START) <= 1 and not _is_whole(line)


def canonical(content: object) -> bytes:
    """JSON text that is the same for equal content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _is_whole(line: bytes) -> bool:
    if not (line.startswith(_START) and line.endswith(_END)):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
