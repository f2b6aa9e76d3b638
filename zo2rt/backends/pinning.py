"""Page-locking of exactly the bytes that are used; PyTorch's allocator rounds to powers of two.

The one place that needs CUDA's own interface: the device-generic API cannot lock existing memory.
"""

from typing import Any

import torch

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
