"""What surrounds the code of a lane: per thread in PyTorch, so carried from thread to thread."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch

from zo2rt.backends.ambient import Ambient


@dataclass(frozen=True, slots=True)
class Surroundings:
    """For the whole life of a lane: grad mode, inference mode, autocast and default device."""

    modes: Ambient
    default_device: torch.device

    @classmethod
    def current(cls) -> Self:
        """Those of the calling thread."""
        accelerator = torch.accelerator.current_accelerator()
        kinds = ("cpu",) if accelerator is None else ("cpu", accelerator.type)
        return cls(Ambient.current(kinds), torch.get_default_device())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """They hold inside, on a thread that starts with PyTorch's own."""
        with self.modes.entered(), ExitStack() as stack:
            if self.default_device != torch.get_default_device():  # costs every torch call a little
                stack.enter_context(self.default_device)
            yield


@dataclass(frozen=True, slots=True)
class CurrentStream:
    """Where work is issued; a lane takes it from the caller at every hand-over."""

    stream: Any
    """Current stream of the accelerator, which also names its device; None where none is in use."""

    @classmethod
    def current(cls) -> Self:
        """That of the calling thread; starts no accelerator that nobody has used yet."""
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is None or not torch.get_device_module(accelerator).is_initialized():
            return cls(None)
        return cls(torch.accelerator.current_stream())

    def enter(self) -> None:
        """Make it the calling thread's."""
        if self.stream is not None:
            torch.accelerator.set_stream(self.stream)


@contextmanager
def own_default_dtype() -> Iterator[None]:
    """The default dtype belongs to the process: whoever is in here has it back on return."""
    mine = torch.get_default_dtype()
    yield
    if torch.get_default_dtype() is not mine:
        torch.set_default_dtype(mine)
