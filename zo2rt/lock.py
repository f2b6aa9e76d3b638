"""One process at a time in a run's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # or a link could name any file


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Inside, no other process, and no one else in this one, is here; the kernel sees to that.

    The lock ends with the process, however it ends. The file ``.lock`` goes at the end, and so does
    a folder that was made for it and is still empty. Raises ``BlockingIOError`` where another
    writer is there.
    """
    made = not folder.exists()
    handle = _locked(folder)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is held: see _is_there
        if made:
            with suppress(OSError):  # it holds something by now
                folder.rmdir()
        fcntl.flock(handle, fcntl.LOCK_UN)  # a forked process may hold the file open
        os.close(handle)


def _locked(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, _FLAGS, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise BlockingIOError(
                f"{folder}: must have one writer at a time, and another process is at work there; "
                f"wait until it ends, or stop it, then go on; or choose another folder"
            ) from None
        if _is_there(folder / LOCK, handle):
            return handle
        os.close(handle)


def _is_there(path: Path, handle: int) -> bool:
    """Not the file of a writer that removed it, and ended, since it was opened."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
