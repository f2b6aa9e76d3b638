"""The host, through psutil: this process's memory and cores, and what memory is left."""

import psutil

from zo2rt.sampling.sample import Probe, Reading


class HostProbe(Probe):
    """Reads this process and the machine that it runs on."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # counts from here

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def read(self) -> Reading:
        return Reading(
            host_rss_bytes=float(self._process.memory_info().rss),
            host_available_bytes=float(psutil.virtual_memory().available),
            host_cpu=self._process.cpu_percent() / 100.0,
        )
