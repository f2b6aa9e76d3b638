"""What the host backend asks of its process: cores apart, freed memory kept, so many threads.

One core is left to what goes on beside the computation: a copy that wakes up on the core that
computes takes it for as long as a chunk lasts; on two cores that made a step with copies at 80 %
of compute 5 to 9 % longer, with separate cores 1 %.

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
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from zo2sim.schedule.ops import Stream


def keep_apart(stream: Stream) -> None:
    """Bind the calling thread, and all that it starts: what computes to all cores but the last.

    Copies, and what the host does beside the device, keep to the last one.

    Does nothing where PyTorch's threads need every core, or the system cannot bind threads.
    """
    if sys.platform != "linux":
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > torch.get_num_threads():
        os.sched_setaffinity(0, cores[:-1] if stream is Stream.COMPUTE else cores[-1:])


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


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """``count`` threads inside; as many as before afterwards. Sums, and so bits, depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
