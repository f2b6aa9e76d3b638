"""What backends share whose device is the host itself."""

import torch

from zo2rt.backends.base import Backend, MemoryFigures, Timing
from zo2rt.backends.buffers import HandedOut, aligned_buffer
from zo2rt.backends.threads import Failure
from zo2rt.backends.timing_log import TimingLog


class OnHost(Backend):
    """Buffers are all alike, told apart in the account; a log has the times of what ran."""

    def __init__(self) -> None:
        self._handed_out = HandedOut()
        self._log = TimingLog()
        self._failure = Failure()

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def device_buffer(self, nbytes: int) -> torch.Tensor:
        buffer = aligned_buffer(nbytes)
        self._handed_out.device_bytes += nbytes
        return buffer

    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> torch.Tensor:
        buffer = aligned_buffer(nbytes)
        self._handed_out.add_host(nbytes, pinned=pinned)
        return buffer

    def ended(self) -> tuple[Timing, ...]:
        self._failure.check()
        return self._log.ended()

    def timings(self) -> tuple[Timing, ...]:
        self.synchronize()
        return self._log.ended()

    def memory(self) -> MemoryFigures:
        return self._handed_out.figures(device_peak_bytes=self._handed_out.device_bytes)

    def free_device_bytes(self) -> None:
        """It is the host's memory."""
