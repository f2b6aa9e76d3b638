"""Numbers of machines from what several people measured: a median, and how far hosts differ.

A machine of the catalogue is one that nobody has measured yet. Its constant is the median of those
that were; its interval is where the next one is expected: the spread between hosts, which few
measurements do not tell, is drawn towards that of the constant's class.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp, log, sqrt
from statistics import median
from typing import Any

from zo2sim import toml
from zo2sim.machines.keys import key_of
from zo2sim.machines.quantity import Quantity

_FILE = "data/machines/measured.toml"
_PRIOR_HOSTS = 4.0
"""How many measurements the spread of the class counts for."""
_SIGMAS = 1.96
_MAD_SIGMA = 1.4826  # standard deviation over median absolute deviation; outliers do not widen it
_NAMED = 4  # measurements that a source names one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One host's value of a constant, in SI units; ``on`` is a card, or a class of links."""

    key: str
    on: str
    value: float
    source: str
    host: str


def measurements(key: str, on: str, *, without: Collection[str]) -> tuple[Measurement, ...]:
    """What is known of a constant, sources and hosts in ``without`` apart."""
    known = _known().get((key, on), ())
    return tuple(m for m in known if m.source not in without and m.host not in without)


def origin(measurement: Measurement) -> str:
    """Whoever measured: the source, or the host where a source collects those of many people."""
    collected = measurement.source in _file()["collections"]
    return measurement.host if collected else measurement.source


def all_measurements() -> Mapping[tuple[str, str], list[Measurement]]:
    """Everything that was measured, by constant and by what it was measured on."""
    return _known()


def subjects(key: str) -> tuple[str, ...]:
    """Cards, or classes of links, on which somebody measured the constant."""
    return tuple(on for own, on in _known() if own == key)


def sources() -> Mapping[str, str]:
    """Who measured, by the name under which measurements say so."""
    return _file()["sources"]


def population(key: str, found: Sequence[Measurement]) -> Quantity:
    """The constant of the next host. Raises ``ValueError`` where nothing was measured."""
    if not found:
        raise ValueError(f"{key} must have been measured somewhere; nobody did")
    by_host: dict[str, list[float]] = {}
    for m in found:
        by_host.setdefault(m.host, []).append(log(m.value))
    logs = [sum(own) / len(own) for own in by_host.values()]
    return spread_around(exp(median(logs)), key, logs, source=_words(found))


def spread_around(
    value: float, key: str, logs: Iterable[float] = (), *, source: str, wider: float = 1.0
) -> Quantity:
    """A measured number with the interval in which the next host's lies.

    ``wider`` is how much more it is expected to differ than hosts of one subject do.
    """
    known, centre = list(logs), log(value)
    prior = wider * float(_file()["spread"][key])
    apart = [abs(one - centre) for one in known]
    squares = len(known) * (_MAD_SIGMA * median(apart)) ** 2 if known else 0.0
    freedom = _PRIOR_HOSTS + max(len(known) - 1, 0)
    sigma = sqrt((_PRIOR_HOSTS * prior**2 + squares) / freedom)
    wide = exp(_SIGMAS * sigma * sqrt(1.0 + 1.0 / max(len(known), 1)))
    low, middle, high = map(_rounded, (value / wide, value, value * wide))
    return Quantity(middle, "measured", source, low=low, high=high)


def _rounded(value: float) -> float:
    """To twelve digits, which exp and log have on every processor: the same bytes anywhere."""
    return float(f"{value:.12g}")


def _words(found: Sequence[Measurement]) -> str:
    hosts = len({m.host for m in found})
    names = list(dict.fromkeys(sources()[m.source] for m in found))
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    counted = "one host" if hosts == 1 else f"median of {hosts} hosts"
    return f"{counted}: {'; '.join(names[:_NAMED])}{more}"


@cache
def _known() -> dict[tuple[str, str], list[Measurement]]:
    found: dict[tuple[str, str], list[Measurement]] = {}
    for row in _file()["measured"]:
        key, unit = key_of(row["of"]) or _unknown(row["of"])
        one = Measurement(
            key=key,
            on=row["on"],
            value=unit.to_si(row["value"]),
            source=row["by"],
            host=f"{row['by']} {row.get('host', '')}",
        )
        found.setdefault((key, one.on), []).append(one)
    return found


def _unknown(key: str) -> Any:
    raise ValueError(f"{_FILE}: a measurement must be of a machine's constant; got {key!r}")


@cache
def _file() -> dict[str, Any]:
    text = files("zo2sim").joinpath(_FILE).read_text(encoding="utf-8")
    return toml.parse(text, must=f"{_FILE} must be valid TOML")
