"""Prediction bands: what the uncertainty of the machine's constants does to a prediction.

Monte Carlo. Each constant that has a 95 % interval is drawn from a log-normal with that interval;
two spreads are drawn on top: how far operations are from the cost law (one factor per draw for
everything that computes, as the blocks of a model are alike), and how far a run is from its
repetition. Constants without an interval stay as they are: a band does not cover an assumption.
So do those that calibration could not tell (an interval wider than `UNKNOWN`): their errors cancel
against those of other constants, and what is left of them is in the spread around the law.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zo2sim import fast
from zo2sim.case import Case
from zo2sim.machine import PARTS, Machine, Quantity, quantities_of
from zo2sim.memory import account
from zo2sim.memory_account import fits
from zo2sim.simulate import simulate

Floats = NDArray[np.float64]

COVERAGE = 0.9
SIMULATED = 40
"""Draws where each takes a simulation of its own."""
UNKNOWN = 3.0
"""Highest over lowest of an interval from which on a constant is not drawn."""
_SIGMAS = 3.919927969080108  # standard deviations in a 95 % interval
_SPREADS = ("misfit_ratio", "jitter_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The central 90 % of what was drawn: seconds per step, data tokens per second.

    ``fits_share`` is the share of the draws in which everything has room.
    """

    draws: int
    low_step_s: float
    high_step_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    fits_share: float

    @property
    def width(self) -> float:
        """Of the step's band, relative to its middle."""
        return 2.0 * (self.high_step_s - self.low_step_s) / (self.high_step_s + self.low_step_s)


def band(case: Case, *, draws: int = 200, seed: int = 0) -> Band:
    """The band of a case's steady step; the same seed gives the same band.

    Where operations slow each other, `SIMULATED` of the draws are simulated; elsewhere all are
    walked at once.
    Raises ``ValueError`` when ``draws`` is below 20: the ends of a band are 5 % quantiles.
    """
    if draws < 20:
        raise ValueError(f"draws must be >= 20; got {draws}")
    if fast.contends(case):
        draws = min(draws, SIMULATED)
    rng = np.random.default_rng(seed)
    drawn = [replace(case, machine=machine) for machine in machines(case, rng, draws)]
    steps = _steps_s(drawn) * np.exp(rng.normal(0.0, _jitter(case.machine), draws))
    low, high = (float(np.quantile(steps, q)) for q in ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    tokens = case.recipe.tokens_per_step
    return Band(
        draws=draws,
        low_step_s=low,
        high_step_s=high,
        low_tokens_per_s=tokens / high,
        high_tokens_per_s=tokens / low,
        fits_share=_fits_share(drawn),
    )


def machines(case: Case, rng: np.random.Generator, draws: int) -> Iterator[Machine]:
    """Machines whose constants are drawn from their intervals."""
    misfit = _misfit(case)
    for _ in range(draws):
        slower = exp(rng.normal(0.0, misfit))
        yield _drawn(case.machine, rng, slower)


def _steps_s(cases: list[Case]) -> Floats:
    if not fast.contends(cases[0]):
        return fast.step_s(cases)
    return np.array([simulate(c.program, c.cost, c.cost.rates).step_s for c in cases])


def _drawn(machine: Machine, rng: np.random.Generator, slower: float) -> Machine:
    computes = "device" if machine.cpu is None else "cpu"
    changes: dict[str, Any] = {}
    for name in PARTS:
        part = getattr(machine, name)
        if part is not None:
            factors = _factors(part, rng, slower if name == computes else 1.0)
            changes[name] = replace(part, **_ordered(part, _scaled(part, factors)))
    return replace(machine, **changes)


def _factors(part: Any, rng: np.random.Generator, slower: float) -> dict[str, float]:
    """What every constant of a section is multiplied by."""
    found: dict[str, float] = {}
    for name, quantity in quantities_of(part):
        spread = 1.0 if name in _SPREADS else _slowed(name, slower)
        found[name] = _factor(quantity, rng) * spread
    return found


def _scaled(part: Any, factors: Mapping[str, float]) -> dict[str, Quantity]:
    return {
        name: Quantity(q.value * factors[name], q.provenance, q.source)
        for name, q in quantities_of(part)
        if factors[name] != 1.0
    }


def _factor(quantity: Quantity, rng: np.random.Generator) -> float:
    """What a constant is drawn at, relative to its value; 1 where nothing is known of it."""
    draw = rng.standard_normal()
    if quantity.low is None or quantity.high is None:
        return 1.0
    wide = quantity.high / quantity.low
    return exp(draw * log(wide) / _SIGMAS) if wide <= UNKNOWN else 1.0


def _slowed(name: str, slower: float) -> float:
    """A slower core has lower rates and longer times; counts and sizes stay."""
    if name.endswith("_per_s"):
        return 1.0 / slower
    return slower if name.endswith("_s") else 1.0


def _ordered(part: Any, fields: dict[str, Quantity]) -> dict[str, Quantity]:
    """A direction is no faster with the other one busy, in every draw too."""
    other: Quantity
    for way in ("h2d", "d2h"):
        both, alone = f"both_{way}_bytes_per_s", f"{way}_bytes_per_s"
        if both in fields:
            other = fields[alone] if alone in fields else getattr(part, alone)
            fields[both] = fields[both] if fields[both].value <= other.value else other
        elif alone in fields:
            other = getattr(part, both)
            fields[alone] = fields[alone] if fields[alone].value >= other.value else other
    return fields


def _misfit(case: Case) -> float:
    """Spread of operations around the cost law: fitted on this machine, or the kernel tables'."""
    cpu = case.machine.cpu
    if cpu is None:
        return case.cost.setting.kernels.gemm.errors["main"].log_sigma
    return cpu.misfit_ratio.value


def _jitter(machine: Machine) -> float:
    cpu = machine.cpu
    return 0.0 if cpu is None else cpu.jitter_ratio.value


def _fits_share(cases: list[Case]) -> float:
    """Sizes that no draw changes give one answer for all."""
    sizes = {c.machine.device.context_bytes.value: c for c in cases}
    sizes |= {c.machine.device.memory_bytes.value: c for c in cases}
    distinct = cases if len(sizes) > 2 else cases[:1]
    return float(np.mean([_fits(case) for case in distinct]))


def _fits(case: Case) -> bool:
    context_bytes = int(case.machine.device.context_bytes.value)
    memory = account(case.model, case.plan, case.recipe, context_bytes=context_bytes)
    return all(place.fits for place in fits(memory, case.machine))
