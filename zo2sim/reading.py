"""Texts of files that anybody may have made."""

import os
import stat
from pathlib import Path

MOST_BYTES = 1 << 28
"""Of a text that people write, or that says what is in other files."""


def read_text(path: Path, most_bytes: int | None = MOST_BYTES) -> str:
    """The text of a file, without the mark that some editors put before it; lines end with LF.

    Raises ``ValueError`` that names a file which holds no text, or more of it, as some devices
    never end, and a pipe that nobody writes to, for which nobody waits.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        os.set_blocking(file.fileno(), True)
        content = file.read(-1 if most_bytes is None else most_bytes + 1)
        if not content and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path}: must be a text; it is a pipe to which nobody writes")
    if most_bytes is not None and len(content) > most_bytes:
        raise ValueError(f"{path}: must be a text of at most {most_bytes} bytes; it has more")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be text in UTF-8; {error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
