"""Flat buffers that start where they should, page-locked to the byte; the account of what is out.

PyTorch's allocator rounds page-locked memory to powers of two. Locking memory that is there needs
CUDA's own interface; the device-generic one cannot.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch

from zo2rt.backends.base import MemoryFigures
from zo2sim.models.shapes import TENSOR_GRAIN_BYTES

PAGE_BYTES = 4096
"""Memory is page-locked in units of this."""


def aligned_buffer(nbytes: int, grain_bytes: int = TENSOR_GRAIN_BYTES) -> torch.Tensor:
    """Uninitialised host memory, (nbytes,) uint8, at a multiple of ``grain_bytes``.

    Its storage has as many bytes as some whole number of elements of any dtype, without which
    ``torch.load`` refuses what ``torch.save`` has written of a view.
    """
    check_size(nbytes)
    whole = -(-nbytes // grain_bytes) * grain_bytes
    room = torch.empty(whole + grain_bytes, dtype=torch.uint8, device="cpu")
    return room.narrow(0, -room.data_ptr() % grain_bytes, nbytes)


def give_back_freed() -> None:
    """Return freed heap to the system: glibc keeps what lies between live allocations.

    A model whose tensors were freed one by one would otherwise count twice. Does nothing with
    another C library.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def check_size(nbytes: int) -> None:
    """Raise ``ValueError`` for a buffer without bytes."""
    if nbytes < 1:
        raise ValueError(f"a buffer must have at least 1 byte; got {nbytes}")


@dataclass(slots=True)
class HandedOut:
    """Bytes handed out so far."""

    by_device: list[int]
    pinned_bytes: int = 0
    pageable_bytes: int = 0

    def add_host(self, nbytes: int, *, pinned: bool) -> None:
        if pinned:
            self.pinned_bytes += nbytes
        else:
            self.pageable_bytes += nbytes

    def figures(self, *, device_peak_bytes: int) -> MemoryFigures:
        """With the peak as the device counts it."""
        return MemoryFigures(
            by_device=tuple(self.by_device),
            device_peak_bytes=device_peak_bytes,
            pinned_bytes=self.pinned_bytes,
            pageable_bytes=self.pageable_bytes,
        )


_PORTABLE = 1  # cudaHostRegisterPortable: locked for every context


def pin(buffer: torch.Tensor) -> None:
    """Page-lock the pages of a page-aligned host buffer. Raises ``RuntimeError`` if it cannot."""
    code = int(_runtime().cudaHostRegister(buffer.data_ptr(), len(buffer), _PORTABLE))
    if code != 0:
        raise RuntimeError(
            f"page-locking {len(buffer)} bytes failed with CUDA error {code}; "
            f"raise the limit on locked memory (ulimit -l), or use pinning=pageable"
        )


def unpin(buffer: torch.Tensor) -> None:
    """Undo `pin`; nothing may be copying."""
    _runtime().cudaHostUnregister(buffer.data_ptr())


def _runtime() -> Any:
    return torch.cuda.cudart()
