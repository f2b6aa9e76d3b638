"""Backends: where a schedule runs. `base.Backend` says what each of them promises.

`host` is threads and a memcpy, `virtual` any legal order in virtual time, `cuda` an accelerator;
`zo2rt.races` wraps one of them and reports races.
"""

from zo2rt.backends.base import Backend, Event, MemoryFigures, StreamFailed, Timing, Work
from zo2rt.backends.cuda import CudaBackend
from zo2rt.backends.host import HostBackend
from zo2rt.backends.throttle import LinkLimit
from zo2rt.backends.virtual import VirtualBackend

__all__ = [
    "Backend",
    "CudaBackend",
    "Event",
    "HostBackend",
    "LinkLimit",
    "MemoryFigures",
    "StreamFailed",
    "Timing",
    "VirtualBackend",
    "Work",
]
