"""Modes that PyTorch keeps per thread, carried from the caller to the thread that works."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True, slots=True)
class Autocast:
    """Whether and to what one device type casts."""

    device_type: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def current(cls, device_type: str) -> Self:
        return cls(
            device_type,
            torch.is_autocast_enabled(device_type),
            torch.get_autocast_dtype(device_type),
        )


@dataclass(frozen=True, slots=True)
class Ambient:
    """Grad mode, inference mode and autocast of the thread that called `current`."""

    grad: bool
    inference: bool
    autocasts: tuple[Autocast, ...]
    cache: bool

    @classmethod
    def current(cls, device_types: tuple[str, ...] = ("cpu",)) -> Self:
        return cls(
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            tuple(map(Autocast.current, device_types)),
            torch.is_autocast_cache_enabled(),
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The modes hold inside, whatever held before; only those that differ are entered."""
        here = self.current(tuple(cast.device_type for cast in self.autocasts))
        with ExitStack() as stack:
            if self.inference != here.inference:
                stack.enter_context(torch.inference_mode(self.inference))
            if self.grad != torch.is_grad_enabled():
                stack.enter_context(torch.set_grad_enabled(self.grad))
            if (self.autocasts, self.cache) != (here.autocasts, here.cache):
                for cast in self.autocasts:
                    stack.enter_context(self._autocast(cast))
            yield

    def _autocast(self, cast: Autocast) -> torch.autocast:
        return torch.autocast(
            cast.device_type, dtype=cast.dtype, enabled=cast.enabled, cache_enabled=self.cache
        )
