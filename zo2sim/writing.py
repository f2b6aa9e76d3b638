"""What is said where a disk is full: which file it is about, and what to do."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Inside, a full disk is an ``OSError`` that names ``path``, and says what to do.

    Libraries have errors of their own for it, which name no file; what is told already stays.
    """
    try:
        yield
    except Exception as error:
        number = next((n for n in _FULL if _is(error, n)), None)
        if number is None or "make room" in str(error):
            raise
        raise OSError(
            number,
            f"{os.strerror(number)}; what was complete is intact; make room on the disk, then "
            f"start again",
            str(path),
        ) from error


def _is(error: Exception, number: int) -> bool:
    return getattr(error, "errno", None) == number or f"(os error {number})" in str(error)
