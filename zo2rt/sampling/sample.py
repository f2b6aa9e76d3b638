"""One schema for every machine: what can be read of a device and of its host at one moment."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Figures of one moment; None where the machine does not tell.

    ``device_memory_bytes`` is everybody's. PCIe rates are as NVML gives them, over its last 20 ms.
    ``throttled`` names what holds the clocks down, space-separated, empty where nothing does.
    ``host_cpu`` counts the process's busy cores since the reading before. ``host_dram_bytes_per_s``
    is None on every machine so far: counting it takes privileges.
    """

    device_memory_bytes: float | None = None
    device_busy: float | None = None
    pcie_h2d_bytes_per_s: float | None = None
    pcie_d2h_bytes_per_s: float | None = None
    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttled: str | None = None
    host_rss_bytes: float | None = None
    host_available_bytes: float | None = None
    host_cpu: float | None = None
    host_dram_bytes_per_s: float | None = None

    def or_else(self, other: "Reading") -> "Reading":
        """This reading, with what it does not tell taken from another one."""
        mine, theirs = asdict(self), asdict(other)
        return Reading(**{k: theirs[k] if v is None else v for k, v in mine.items()})


FIELDS = tuple(field.name for field in fields(Reading))
"""Columns of the table of samples, after ``time_s``."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading and when it was made, in seconds since the sampler started."""

    time_s: float
    reading: Reading

    @property
    def row(self) -> dict[str, float | str | None]:
        """One line of the table."""
        return {"time_s": self.time_s, **asdict(self.reading)}


class Probe(ABC):
    """Something that can be read. It never raises for what the machine does not tell."""

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What could not be read and why, each said once."""

    @abstractmethod
    def read(self) -> Reading:
        """What the machine tells now."""
