"""Rates that others measured, predicted for the next host of their kind from all other sources."""

from collections.abc import Iterator
from functools import cache
from statistics import median

from analysis.scores.score import Guess, Kind, Score
from zo2sim.machines import catalogue
from zo2sim.machines.population import Measurement, all_measurements, origin, sources
from zo2sim.machines.quantity import Quantity
from zo2sim.machines.units import units_of

_PRODUCTS = (catalogue.GEMM, catalogue.FP32_GEMM)
_TO_90 = 1.645 / 1.96  # from a 95 % interval to a 90 % band, in the logarithm


@cache
def constant_scores() -> tuple[Score, ...]:
    """One per host, constant, and what it was measured on."""
    return tuple(_scores())


def _scores() -> Iterator[Score]:
    for key, hosts in all_measurements().items():
        kind = _kind(key[0])
        if kind is None:
            continue
        for own in _by_host(hosts):
            yield Score(
                name=f"{own[0].on} {key[0].partition('.')[2]}",
                kind=kind,
                unit=units_of(key[0])[0].symbol,
                source=sources()[own[0].source],
                measured=median(m.value for m in own),
                found=_guess(own[0], frozenset()),
                left_out=_guess(own[0], frozenset({origin(own[0])})),
            )


def _kind(key: str) -> Kind | None:
    if key in _PRODUCTS:
        return "product"
    return "link" if key.startswith("link.") else None


def _by_host(found: list[Measurement]) -> Iterator[list[Measurement]]:
    hosts: dict[str, list[Measurement]] = {}
    for m in found:
        hosts.setdefault(m.host, []).append(m)
    yield from hosts.values()


def _guess(m: Measurement, left_out: frozenset[str]) -> Guess:
    quantity = _quantity(m, left_out)
    low, high = quantity.interval
    return Guess(
        value=quantity.value,
        low=quantity.value * (low / quantity.value) ** _TO_90,
        high=quantity.value * (high / quantity.value) ** _TO_90,
    )


def _quantity(m: Measurement, left_out: frozenset[str]) -> Quantity:
    if m.key in _PRODUCTS:
        return catalogue.large_product(m.on, m.key, without=left_out)
    return Quantity(**catalogue.link_rates(m.on, without=left_out)[m.key.partition(".")[2]])
