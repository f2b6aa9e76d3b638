"""Keys of a machine's numbers: the range that each must lie in, and the units it may be given in.

The ranges only catch mistakes of units and slips of the keyboard: they span everything from a
throttled host to what no device of the next years reaches.
"""

import difflib
from typing import NamedTuple

KERNEL_TABLES = ("a100-sxm-80gb", "h100-sxm-80gb", "l40s-48gb")
"""Devices whose matrix kernels were measured shape by shape."""

LIMITS = {
    "device.memory_bytes": (1e6, 1e13),
    "device.memory_bytes_per_s": (3e9, 1e14),
    "device.num_sms": (1, 1e4),
    "device.context_bytes": (1e3, 1e11),
    "device.launch_s": (1e-9, 1e-1),
    "device.alloc_s": (1e-9, 1e1),
    "device.fp32_flops_per_s": (1e8, 1e17),
    "device.fp16_flops_per_s": (1e8, 1e17),
    "device.bf16_flops_per_s": (1e8, 1e17),
    "device.gemm_flops_per_s": (1e8, 1e17),
    "device.gaussian_noise_elements_per_s": (1e5, 1e15),
    "device.rademacher_noise_elements_per_s": (1e5, 1e15),
    "device.torch_noise_elements_per_s": (1e5, 1e15),
    "link.latency_s": (1e-9, 1e-1),
    "link.half_size_bytes": (1, 1e10),
    "link.h2d_bytes_per_s": (1e6, 1e13),
    "link.d2h_bytes_per_s": (1e6, 1e13),
    "link.both_h2d_bytes_per_s": (1e6, 1e13),
    "link.both_d2h_bytes_per_s": (1e6, 1e13),
    "link.pageable_h2d_bytes_per_s": (1e6, 1e13),
    "link.pageable_d2h_bytes_per_s": (1e6, 1e13),
    "link.limit_bytes_per_s": (1e6, 1e13),
    "host.memory_bytes": (1e6, 1e14),
    "host.dram_bytes_per_s": (1e8, 1e14),
    "host.num_cores": (1, 1e4),
    "host.gaussian_update_elements_per_s": (1e5, 1e12),
    "host.rademacher_update_elements_per_s": (1e5, 1e12),
    "host.encode_bytes_per_s": (1e6, 1e12),
    "host.fsync_s": (1e-7, 1e1),
    "host.stream_handover_s": (1e-8, 1e-1),
    "nvme.capacity_bytes": (1e10, 1e16),
    "nvme.read_bytes_per_s": (1e6, 1e12),
    "nvme.write_bytes_per_s": (1e6, 1e12),
    "nvme.latency_s": (1e-8, 1e-1),
    "cpu.gemm_flops_per_s": (1e7, 1e15),
    "cpu.gemm_weight_elements_per_s": (1e5, 1e15),
    "cpu.gemm_output_elements_per_s": (1e5, 1e15),
    "cpu.attention_flops_per_s": (1e7, 1e15),
    "cpu.softmax_elements_per_s": (1e5, 1e15),
    "cpu.elementwise_bytes_per_s": (1e6, 1e15),
    "cpu.loss_elements_per_s": (1e5, 1e15),
    "cpu.launch_s": (1e-9, 1e-1),
    "cpu.outer_launch_s": (1e-9, 1e-1),
    "cpu.block_s": (1e-9, 1e-1),
    "cpu.cold_s": (1e-9, 1e-1),
    "cpu.lane_start_s": (1e-9, 1e0),
    "cpu.lane_end_s": (1e-9, 1e0),
    "cpu.gaussian_perturb_elements_per_s": (1e5, 1e15),
    "cpu.rademacher_perturb_elements_per_s": (1e5, 1e15),
    "cpu.gaussian_update_elements_per_s": (1e5, 1e15),
    "cpu.rademacher_update_elements_per_s": (1e5, 1e15),
    "cpu.pass_elements_per_s": (1e5, 1e15),
    "cpu.touched_elements_per_s": (1e5, 1e15),
    "cpu.round_elements_per_s": (1e5, 1e15),
    "cpu.encode_plain_elements_per_s": (1e5, 1e15),
    "cpu.encode_scaled_elements_per_s": (1e5, 1e15),
    "cpu.decode_plain_elements_per_s": (1e5, 1e15),
    "cpu.decode_scaled_elements_per_s": (1e5, 1e15),
    "cpu.spilled_elements_per_s": (1e5, 1e15),
    "cpu.build_s": (1e-9, 1e-1),
    "cpu.pass_s": (1e-9, 1e-1),
    "cpu.call_s": (1e-9, 1e-1),
    "cpu.beside_s": (1e-9, 1e-1),
    "cpu.gap_s": (1e-9, 1e-1),
    "cpu.copy_start_s": (1e-9, 1e-1),
    "cpu.wake_s": (1e-9, 1e-1),
    "cpu.loss_s": (1e-9, 1e-1),
    "cpu.throttle_s": (1e-9, 1e-1),
    "cpu.turnaround_s": (1e-9, 1e0),
    "cpu.turnaround_operation_s": (1e-9, 1e-1),
    "cpu.turnaround_lane_s": (1e-9, 1e-1),
    "cpu.trip_s": (1e-9, 1e-1),
    "cpu.misfit_ratio": (1e-6, 1e1),
    "cpu.jitter_ratio": (1e-6, 1e1),
    "cpu.together_ratio": (1e-6, 1e2),
    "cpu.large_reference_s": (1e-6, 1e3),
    "cpu.small_reference_s": (1e-6, 1e3),
}
"""Plausible range of every number, in SI base units."""

TABLES = ("flops_per_s", "noise_elements_per_s", "update_elements_per_s")
"""Names that group several numbers: ``flops_per_s.bf16`` is ``bf16_flops_per_s``."""


class Unit(NamedTuple):
    """How a key ends, how people write the unit, and how many SI units it is (times / per)."""

    suffix: str
    symbol: str
    times: float = 1.0
    per: float = 1.0

    def to_si(self, value: float) -> float:
        """The value in SI base units; small units divide, so that 4 us is exactly 4e-6 s."""
        return value * self.times / self.per


# The first of a family is SI, the next ones are asked about when a value is out of range.
_FAMILIES = (
    (
        Unit("bytes_per_s", "B/s"),
        Unit("gb_per_s", "GB/s", 1e9),
        Unit("mb_per_s", "MB/s", 1e6),
        Unit("tb_per_s", "TB/s", 1e12),
        Unit("kb_per_s", "kB/s", 1e3),
        Unit("gib_per_s", "GiB/s", 2.0**30),
        Unit("mib_per_s", "MiB/s", 2.0**20),
    ),
    (
        Unit("flops_per_s", "FLOP/s"),
        Unit("tflops_per_s", "TFLOP/s", 1e12),
        Unit("gflops_per_s", "GFLOP/s", 1e9),
    ),
    (
        Unit("elements_per_s", "elements/s"),
        Unit("gelements_per_s", "1e9 elements/s", 1e9),
        Unit("melements_per_s", "1e6 elements/s", 1e6),
    ),
    (
        Unit("bytes", "B"),
        Unit("gib", "GiB", 2.0**30),
        Unit("mib", "MiB", 2.0**20),
        Unit("tib", "TiB", 2.0**40),
        Unit("kib", "KiB", 2.0**10),
        Unit("gb", "GB", 1e9),
        Unit("mb", "MB", 1e6),
        Unit("tb", "TB", 1e12),
        Unit("kb", "kB", 1e3),
    ),
    (
        Unit("s", "s"),
        Unit("us", "us", 1.0, 1e6),
        Unit("ms", "ms", 1.0, 1e3),
        Unit("ns", "ns", 1.0, 1e9),
    ),
    (Unit("ratio", ""), Unit("percent", "%", 1.0, 1e2)),
)
_COUNT = (Unit("", ""),)


def units_of(key: str) -> tuple[Unit, ...]:
    """The units that a number may be given in, SI first; a count has none."""
    name = key.rpartition(".")[2]
    return next((f for f in _FAMILIES if f"_{name}".endswith(f"_{f[0].suffix}")), _COUNT)


def written(key: str, unit: Unit) -> str:
    """The key of a file that gives the number in that unit."""
    return key.removesuffix(units_of(key)[0].suffix) + unit.suffix


def key_of(text: str) -> tuple[str, Unit] | None:
    """The SI key that a dotted key means, and the unit that it carries; None if it is unknown."""
    return _SPELLINGS.get(text)


def closest(text: str) -> str:
    """The three known keys that look most like the text."""
    return ", ".join(difflib.get_close_matches(text[:80], _KNOWN, n=3, cutoff=0.0))


def check_plausible(key: str, value: float) -> None:
    """``ValueError`` unless the number lies in its range; asks about the unit that would fit."""
    low, high = LIMITS[key]
    if not low <= value <= high:
        symbol = f" {units_of(key)[0].symbol}".rstrip()
        raise ValueError(
            f"{key} must lie in [{_plain(low)}, {_plain(high)}]{symbol}; "
            f"got {_plain(value)}{_hint(key, value)}"
        )
    if units_of(key) is _COUNT and value != int(value):
        raise ValueError(f"{key} must be a whole number; got {value:g}")


def _hint(key: str, value: float) -> str:
    low, high = LIMITS[key]
    for unit in units_of(key)[1:]:
        if low <= unit.to_si(value) <= high:
            name = written(key, unit).partition(".")[2]
            return f": is the unit {unit.symbol}? use {name}"
    return ""


def _plain(value: float) -> str:
    """1e6 rather than 1e+06."""
    mantissa, e, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def _grouped(key: str) -> str | None:
    """``device.flops_per_s.bf16`` for ``device.bf16_flops_per_s``; None where there is no table."""
    part, _, field = key.partition(".")
    leaf, _, table = field.partition("_")
    return f"{part}.{table}.{leaf}" if table in TABLES else None


def _spellings() -> dict[str, tuple[str, Unit]]:
    found: dict[str, tuple[str, Unit]] = {}
    for key in LIMITS:
        for unit in units_of(key):
            flat = written(key, unit)
            found[flat] = (key, unit)
            if (grouped := _grouped(key)) is not None:
                table, _, leaf = grouped.rpartition(".")
                found[f"{written(table, unit)}.{leaf}"] = (key, unit)
    return found


_SPELLINGS = _spellings()
_KNOWN = (*_SPELLINGS, "device.name", "device.kernel_table", "machine.name", "machine.description")
