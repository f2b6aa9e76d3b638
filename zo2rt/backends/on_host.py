"""What backends share whose device is the host itself."""

import torch

from zo2rt.backends.base import Backend, MemoryFigures, Timing
from zo2rt.backends.buffers import HandedOut, aligned_buffer
from zo2rt.backends.threads import Failure
from zo2rt.backends.timing_log import TimingLog


class OnHost(Backend):
    """Buffers are all alike, told apart in the account; a log has the times of what ran.

    Every one of ``devices`` is the host itself.
    """

    def __init__(self, devices: int = 1) -> None:
        if devices < 1:
            raise ValueError(f"devices must be >= 1; got {devices}")
        self._devices = (torch.device("cpu"),) * devices
        self._handed_out = HandedOut([0] * devices)
        self._log = TimingLog()
        self._failure = Failure()

    @property
    def devices(self) -> tuple[torch.device, ...]:
        return self._devices

    def device_buffer(self, nbytes: int, *, device: int = 0) -> torch.Tensor:
        buffer = aligned_buffer(nbytes)
        self._handed_out.by_device[device] += nbytes
        return buffer

    def host_buffer(self, nbytes: int, *, pinned: bool = True, device: int = 0) -> torch.Tensor:
        buffer = aligned_buffer(nbytes)
        self._handed_out.add_host(nbytes, pinned=pinned)
        return buffer

    def is_elsewhere(self, tensor: torch.Tensor, device: int) -> bool:
        """Nobody knows: all memory is the host's. Of several devices each has a copy of its own."""
        return len(self._devices) > 1

    def ended(self) -> tuple[Timing, ...]:
        self._failure.check()
        return self._log.ended()

    def timings(self) -> tuple[Timing, ...]:
        self.synchronize()
        return self._log.ended()

    def memory(self) -> MemoryFigures:
        return self._handed_out.figures(device_peak_bytes=sum(self._handed_out.by_device))

    def free_device_bytes(self, device: int = 0) -> None:
        """It is the host's memory."""
