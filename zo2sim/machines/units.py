"""Units of a machine's numbers: what a key ends with, and what else it may be given in."""

from typing import NamedTuple


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


def suiting(key: str, value: float) -> Unit:
    """The unit in which a value in SI units is a number from 1 to 1000; the nearest where none is.

    Powers of ten, as rates have them.
    """
    units = [unit for unit in units_of(key) if unit.symbol[1:2] != "i"]

    def off(unit: Unit) -> float:
        number = value / unit.to_si(1.0)
        return max(1.0 / number, number / 1000.0, 1.0)

    return min(units, key=off)


def is_count(key: str) -> bool:
    """The number has no unit, and is whole."""
    return units_of(key) is _COUNT


def written(key: str, unit: Unit) -> str:
    """The key of a file that gives the number in that unit."""
    return key.removesuffix(units_of(key)[0].suffix) + unit.suffix
