"""A GPU, through NVML: every figure on its own, because a card or a user may be denied any of them.

Names and units are those of NVIDIA's NVML API reference. What the library refuses is noted once,
and the figure stays None: a run is never ended by its observer.
"""

from collections.abc import Callable, Iterator
from typing import Any

from zo2rt.sampling.card import Card
from zo2rt.sampling.sample import Probe, Reading

_LOST = 15
_REASONS = {
    1 << 2: "power_cap",
    1 << 3: "hardware_slowdown",
    1 << 4: "sync_boost",
    1 << 5: "software_thermal",
    1 << 6: "hardware_thermal",
    1 << 7: "power_brake",
}
"""Bits of the clock event reasons that slow a busy card: nvmlClocksEventReason* of nvml.h."""

_MESSAGES = {
    3: "the card does not offer it",
    6: "it knows no such device",
    4: "this user is not permitted to read it; ask for access, or run as its owner",
    9: "the driver is not loaded",
    12: "the library libnvidia-ml is not installed",
    15: "the device is lost; it needs a reset, and nothing more is read of it",
}


def open_nvml(card: Card | str, *, nvml: Any = None) -> "NvmlProbe | str":
    """The probe of a card, or the sentence that says why there is none.

    ``card`` is what `current_card` found. No other card is read in its place: where NVML does not
    know it, or there is a sentence instead of a card, there are no figures.
    ``nvml`` is the module `pynvml`, or what stands for it in tests.
    """
    if isinstance(card, str):
        return f"no GPU figures: {card}"
    if nvml is None:
        try:
            import pynvml as nvml
        except ImportError:
            return "no GPU figures: the package nvidia-ml-py is not installed"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"no GPU figures: {_because(error)}"
    why = "nothing names it"
    for find in _ways(nvml, card):
        try:
            return NvmlProbe(nvml, find())
        except nvml.NVMLError as error:
            why = _because(error)
    return f"no GPU figures: NVML cannot tell which card is {card}; {why}"


def _ways(nvml: Any, card: Card) -> Iterator[Callable[[], Any]]:
    """Questions for the card's handle; a partition (MIG) has a UUID of its own, and a parent."""
    if card.uuid is not None:
        yield lambda: nvml.nvmlDeviceGetHandleByUUID(f"GPU-{card.uuid}")
    if card.pci is not None:
        yield lambda: nvml.nvmlDeviceGetHandleByPciBusId(card.pci)
    if card.uuid is not None:
        yield lambda: nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
            nvml.nvmlDeviceGetHandleByUUID(f"MIG-{card.uuid}")
        )


class NvmlProbe(Probe):
    """Reads one device. On a card that is partitioned (MIG) some figures do not exist."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._notes: dict[str, str] = {}
        self._lost = False
        self._note_partitions()

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes.values())

    def read(self) -> Reading:
        n, h = self._nvml, self._handle
        return Reading(
            device_memory_bytes=self._ask(
                "memory", lambda: float(n.nvmlDeviceGetMemoryInfo(h).used)
            ),
            device_busy=self._ask(
                "utilisation", lambda: n.nvmlDeviceGetUtilizationRates(h).gpu / 100.0
            ),
            pcie_h2d_bytes_per_s=self._ask("PCIe throughput", lambda: self._pcie("RX")),
            pcie_d2h_bytes_per_s=self._ask("PCIe throughput", lambda: self._pcie("TX")),
            sm_clock_hz=self._ask("SM clock", lambda: self._clock(n.NVML_CLOCK_SM)),
            memory_clock_hz=self._ask("memory clock", lambda: self._clock(n.NVML_CLOCK_MEM)),
            power_w=self._ask("power", lambda: n.nvmlDeviceGetPowerUsage(h) / 1e3),
            temperature_c=self._ask(
                "temperature",
                lambda: float(n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU)),
            ),
            throttled=self._ask("throttle reasons", self._throttled),
        )

    def _ask(self, what: str, question: Callable[[], Any]) -> Any:
        """The answer, or None; the first refusal of each question is noted."""
        if self._lost:
            return None
        try:
            return question()
        except self._nvml.NVMLError as error:
            self._lost = error.value == _LOST
            self._notes.setdefault(what, f"{what}: {_because(error)}")
            return None

    def _pcie(self, way: str) -> float:
        """What the device receives (RX) is what the host sends; NVML counts KB per second."""
        counter = getattr(self._nvml, f"NVML_PCIE_UTIL_{way}_BYTES")
        return self._nvml.nvmlDeviceGetPcieThroughput(self._handle, counter) * 1024.0

    def _clock(self, domain: int) -> float:
        return self._nvml.nvmlDeviceGetClockInfo(self._handle, domain) * 1e6

    def _throttled(self) -> str:
        mask = self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        return " ".join(name for bit, name in _REASONS.items() if mask & bit)

    def _note_partitions(self) -> None:
        """MIG: utilisation does not exist, and memory is that of the whole card."""
        mode = self._ask("MIG mode", lambda: self._nvml.nvmlDeviceGetMigMode(self._handle)[0])
        self._notes.pop("MIG mode", None)  # cards without partitions refuse the question
        if mode:
            self._notes["MIG"] = (
                "MIG: the card is partitioned; memory, power and clocks are those of the whole "
                "card, not of this partition"
            )


def _because(error: Any) -> str:
    """The reason in words, and NVML's own beside it."""
    words = _MESSAGES.get(error.value)
    return f"{words} (NVML: {error})" if words else f"NVML: {error}"
