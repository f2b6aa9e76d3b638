"""Memory that a lane frees stays with the process, so that the next lane finds it in place.

[Note: freed memory] glibc gives what is freed at the end of a heap back to the system, and each
thread has heaps of its own. Lanes are threads that live for a step, so every activation of more
than 128 KiB was asked for anew and faulted in page by page: 1000 to 1700 faults in a step of a
model of width 320, or none, as earlier steps had left the heaps. With one heap that keeps what it
has there are eight, always. What is kept is the most that lanes needed at once in pieces of up to
4 MiB; larger ones come and go in every step alike, because kept they would leave holes. Where the
environment says how malloc is to behave (mallopt(3): ``MALLOC_TRIM_THRESHOLD_``), that stands.
"""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""``M_TRIM_THRESHOLD``, ``M_MMAP_THRESHOLD`` and ``M_ARENA_MAX`` of glibc's malloc.h."""
_NEVER = 2**31 - 1
_LARGEST_BYTES = 4 << 20
"""Of a piece that is kept."""


def keep_freed_memory() -> bool:
    """See [Note: freed memory]. Holds for the process; False where malloc stays as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    settings = {_TRIM_THRESHOLD: _NEVER, _MMAP_THRESHOLD: _LARGEST_BYTES, _ARENA_MAX: 1}
    taken = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(taken)
