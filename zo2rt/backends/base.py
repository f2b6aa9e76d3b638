"""What an executor needs of a machine: a dozen primitives, the same for every backend.

A machine has one device or several, which are numbered. A stream is named by its device and the
schedule's `Stream`, its track, and comes into being at its first use; a `Stream` alone is that of
device 0. `launch` and `copy` only enqueue; what is enqueued on one track runs one after another, in
that order. Order across tracks, of one device or two, comes from `record` and `wait` and from
nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch

from zo2rt.backends.layouts import brought
from zo2rt.backends.tracks import Where, track_of
from zo2sim.schedule.ops import Buffer, Stream, Track

Work = Callable[[], None]

Touched = torch.Tensor | Buffer
"""What work reads or writes: memory, or by its name in the schedule what is no tensor."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When one launch or copy ran, in seconds on the backend's clock; it starts after its waits."""

    label: str
    track: Track
    start_s: float
    end_s: float

    @property
    def stream(self) -> Stream:
        return self.track.stream


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """Bytes that a backend has handed out, and the most that the device ever had in use.

    ``device_peak_bytes`` counts everybody's tensors where the device has an allocator that counts
    (cuda), and equals ``device_bytes`` where "the device" is host memory.
    """

    by_device: tuple[int, ...]
    device_peak_bytes: int
    pinned_bytes: int
    pageable_bytes: int

    @property
    def device_bytes(self) -> int:
        """Of all devices together."""
        return sum(self.by_device)


class Event:
    """The end of everything that a stream had been given when `Backend.record` was called last."""

    __slots__ = ("__weakref__", "ticket", "track")

    def __init__(self, track: Where, ticket: Any) -> None:
        self.track = track_of(track)
        self.ticket = ticket

    @classmethod
    def marked(cls, event: "Event | None", track: Track, ticket: Any) -> "Event":
        """A new event, or the given one recorded anew."""
        if event is None:
            return cls(track, ticket)
        event.track, event.ticket = track, ticket
        return event


class StreamFailed(RuntimeError):
    """Work on a stream raised; the original exception is the cause. The backend is of no use."""


class Backend(ABC):
    """Streams, events and buffers of one machine. Used from one thread, the caller's.

    ``devices`` are numbered by their place; memory of each belongs to it alone.

    **Failure.** If work raises, nothing that is enqueued later or still waiting runs, and the next
    call of `launch`, `copy`, `record`, `wait`, `query`, `synchronize`, `ended` or `timings` raises
    `StreamFailed` from the original exception. It never hangs.

    **Ambient modes.** Work runs under the grad mode, inference mode and autocast that the caller
    had when it launched, on whichever thread it runs.
    """

    @property
    @abstractmethod
    def devices(self) -> tuple[torch.device, ...]:
        """Where `device_buffer` allocates and work computes; at least one."""

    @property
    def device(self) -> torch.device:
        """The first."""
        return self.devices[0]

    @abstractmethod
    def device_buffer(self, nbytes: int, *, device: int = 0) -> torch.Tensor:
        """Uninitialised uint8 tensor (nbytes,), 256-byte aligned, kept until `close`."""

    @abstractmethod
    def host_buffer(self, nbytes: int, *, pinned: bool = True, device: int = 0) -> torch.Tensor:
        """Uninitialised uint8 tensor (nbytes,) in host memory, 256-byte aligned.

        Page-locked where ``pinned`` says so and the machine knows the difference, and near
        ``device``, which copies from it, where the machine has memory of several sockets.
        """

    @abstractmethod
    def launch(self, track: Where, work: Work, *, label: str) -> None:
        """Enqueue ``work``. It may be called on another thread, at once or later, and once."""

    @abstractmethod
    def transfer(self, track: Where, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy flat uint8 tensors of equal length; called by work that was launched on ``track``.

        On h2d and d2h it takes the device's link. Source and target may be on two devices. Ended
        when the work's end is: no need to wait for it.
        """

    def copy(self, track: Where, target: torch.Tensor, source: torch.Tensor, *, label: str) -> None:
        """Launch work that is one `transfer`."""
        check_copy(target, source)
        self.launch(track, lambda: self.transfer(track, target, source), label=label)

    def receive(self, track: Where, tensor: torch.Tensor) -> torch.Tensor:
        """Bring a tensor of any shape to the track's device, strides and all.

        Called by work that was launched on ``track``. What is there already, or on no device at
        all, is returned as it is; of what arrives the caller keeps both until what reads either has
        ended, and until then only.
        """
        number = track_of(track).device
        if not self.is_elsewhere(tensor, number):
            return tensor
        return brought(tensor, self.devices[number], partial(self.transfer, track))

    @abstractmethod
    def is_elsewhere(self, tensor: torch.Tensor, device: int) -> bool:
        """Whether a tensor must be copied before ``device`` can compute with it: another has it."""

    @abstractmethod
    def record(self, track: Where, event: Event | None = None) -> Event:
        """Mark the end of what ``track`` has been given so far.

        ``event`` is recorded anew if given, and may belong to another track before.
        """

    @abstractmethod
    def wait(self, track: Where, event: Event) -> None:
        """What ``track`` is given from now on runs after what ``event`` marks *now*.

        A later `record` of the same event does not move a wait that was asked for before.
        """

    @abstractmethod
    def query(self, event: Event) -> bool:
        """Whether what ``event`` marks has ended. Never blocks; polling makes progress."""

    @abstractmethod
    def synchronize(self, event: Event | None = None) -> None:
        """Block the caller until what ``event`` marks has ended; None: everything."""

    def touch(  # noqa: B027 - most backends have nobody to tell
        self, *, reads: tuple[Touched, ...] = (), writes: tuple[Touched, ...] = ()
    ) -> None:
        """Say what the running work touches where PyTorch does not see it: in kernels of our own,
        or outside of tensors. Called by that work; nobody listens but `zo2rt.races`."""

    @abstractmethod
    def ended(self) -> tuple[Timing, ...]:
        """The first launches and copies that have ended, up to the first that has not; each once.

        Never blocks, and lets nothing run. Called now and then, it keeps the log short.
        """

    @abstractmethod
    def timings(self) -> tuple[Timing, ...]:
        """Every launch and copy that `ended` or this has not given yet, in the order of the calls.

        Waits for everything first. All times are on one clock, which starts with the backend.
        """

    @abstractmethod
    def memory(self) -> MemoryFigures:
        """Bytes in use. Costs nothing on the device."""

    @abstractmethod
    def free_device_bytes(self, device: int = 0) -> int | None:
        """Bytes that `device_buffer` may still hand out, at most.

        None where nobody knows, and where they are host memory.
        """

    @abstractmethod
    def close(self) -> None:
        """Wait for what runs, end threads, release page locks. Safe to call twice, never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check_copy(target: torch.Tensor, source: torch.Tensor) -> None:
    """Raise ``ValueError`` unless both are flat, contiguous uint8 of one length."""
    for name, tensor in (("target", target), ("source", source)):
        if tensor.dtype is not torch.uint8 or tensor.dim() != 1 or not tensor.is_contiguous():
            raise ValueError(
                f"the {name} of a copy must be a flat, contiguous uint8 tensor; got "
                f"{tensor.dtype} of shape {tuple(tensor.shape)}; copy views of the buffers"
            )
    if len(target) != len(source):
        raise ValueError(
            f"source and target of a copy must have the same length; "
            f"got {len(source)} and {len(target)} bytes"
        )
