"""Prediction bands: what the uncertainty of the machine's constants does to a prediction.

Monte Carlo. Each constant that has a 95 % interval is drawn from a log-normal with that interval,
made narrower by how much the errors of constants that were fitted together cancel;
two spreads are drawn on top: how far runs are from the cost law (one factor per draw for
everything that computes, as the blocks of a model are alike), and how far a run is from its
repetition. Constants without an interval stay as they are: a band does not cover an assumption.
So do those of a calibrated host that calibration could not tell (an interval wider than
`UNKNOWN`): their errors cancel against those of other constants, and what is left of them is in the
spread around the law.

[Note: matched walk] Drawing 200 machines and simulating each would cost 200 predictions. An
operation's time is a sum of parts, one per constant, so the durations of all draws are one matrix
product, and the program is walked once for all of them (`zo2sim.simulate.uncontended`). A walk
knows no contention; where operations slow each other, everything beside the device is first slowed
by the one factor with which the walk gives the simulated step. What a link gives with both ways
busy is no part of an operation, nor what a socket's memory gives several devices: the step is
simulated at both ends of these, too.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import hypot, log
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from zo2sim.cost import CostModel
from zo2sim.cost.parts import KERNELS, late_parts_s, parts_s
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.memory.account import MemoryPlace
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction
from zo2sim.predict.vectorised import walk_of
from zo2sim.simulate.bounds import BOTH_WAYS, UPLINK
from zo2sim.simulate.events import simulate
from zo2sim.simulate.uncontended import Walk
from zo2sim.simulate.work import Rates, Resource, TwoWays

Floats = NDArray[np.float64]

COVERAGE = 0.9
BOTH = "link.both_h2d_bytes_per_s"
SOCKET = "node.socket_dram_bytes_per_s"
MISFIT = "law"
"""Stands for how far runs are from the cost law, in `Band.widest`."""
UNKNOWN = 3.0
"""Highest over lowest of an interval from which on a constant is not drawn."""
_SIGMAS = 2.0 * NormalDist().inv_cdf(0.975)  # standard deviations in a 95 % interval
_SLOWEST = 16.0  # factor of contention that is looked for
_TRIED = 33
_CHANGE = 0.01
_ROOM = {
    MemoryPlace.DEVICE: "device.memory_bytes",
    MemoryPlace.HOST: "host.memory_bytes",
    MemoryPlace.NVME: "nvme.capacity_bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The central 90 % of what was drawn: seconds per step, data tokens per second.

    ``fits_share`` is the share of the draws in which everything has room. ``holds`` says what was
    drawn; ``lacks`` names the constants behind the step of which no interval is known, those that
    take most time first. ``widest`` is what was drawn that explains most of the width, and
    ``widest_share`` how much of it.
    """

    draws: int
    low_step_s: float
    high_step_s: float
    low_tokens_per_s: float
    high_tokens_per_s: float
    fits_share: float
    holds: tuple[str, ...]
    lacks: tuple[str, ...]
    widest: str
    widest_share: float

    @property
    def width(self) -> float:
        """Of the step's band, relative to its middle."""
        return 2.0 * (self.high_step_s - self.low_step_s) / (self.high_step_s + self.low_step_s)


def band(prediction: Prediction, *, draws: int = 200, seed: int = 0) -> Band:
    """The band of a steady step; the same seed gives the same band.

    Draws are stratified (one per slice of equal probability of every factor, in random order;
    McKay, Beckman and Conover, Technometrics 21, 1979), so that few of them do.
    Raises ``ValueError`` when ``draws`` is below 20: the ends of a band are 5 % quantiles.
    """
    if draws < 20:
        raise ValueError(f"draws must be >= 20; got {draws}")
    case, normal = prediction.case, _Normal(np.random.default_rng(seed), draws)
    parts = _Parts.of(case)
    machine, misfit = case.machine, _misfit(case)
    factors = np.array([_factors(key, machine, normal) for key in parts.keys])
    drawn = dict(zip(parts.keys, factors, strict=True))
    slower = np.exp(misfit * normal.scores())
    factors = factors * np.where([[_computes(key)] for key in parts.keys], slower, 1.0)
    jitter = np.exp(_jitter(machine) * normal.scores())
    both, memory = _both_ways(prediction, normal), _memory(prediction, normal)
    steps = parts.steps_s(factors, prediction.step_s) * jitter * both * memory
    widest, share = _widest({**drawn, BOTH: both, SOCKET: memory, MISFIT: slower}, steps)
    low, high = (float(np.quantile(steps, q)) for q in ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    tokens = case.recipe.tokens_per_step
    return Band(
        draws=draws,
        low_step_s=low,
        high_step_s=high,
        low_tokens_per_s=tokens / high,
        high_tokens_per_s=tokens / low,
        fits_share=_fits_share(prediction, normal),
        holds=_holds(case, parts),
        lacks=tuple(key for key in parts.by_weight if not _has_interval(machine, key)),
        widest=widest,
        widest_share=share,
    )


def _widest(drawn: Mapping[str, Floats], steps: Floats) -> tuple[str, float]:
    """What explains most of the steps' variance, and its share: the squared correlation."""
    logs = np.log(steps) - np.log(steps).mean()
    shares = {name: _explained(np.log(factors), logs) for name, factors in drawn.items()}
    widest = max(shares, key=lambda name: shares[name])
    return widest, shares[widest]


def _explained(cause: Floats, effect: Floats) -> float:
    centred = cause - cause.mean()
    both = float(centred @ centred) * float(effect @ effect)
    return float(centred @ effect) ** 2 / both if both > 0.0 else 0.0


def drawn_sigma(machine: Machine, key: str) -> float:
    """Log standard deviation by which a constant is drawn, were its error independent of others;
    0 where nothing, or too little, is known of it."""
    calibrated = machine.cpu is not None
    return hypot(*(_sigma(q, calibrated=calibrated) for q in _quantities(machine, key)))


def _sigma(quantity: Quantity, *, calibrated: bool) -> float:
    low, high = quantity.interval
    return 0.0 if calibrated and high > UNKNOWN * low else log(high / low) / _SIGMAS


def step_slopes(case: Case) -> dict[str, float]:
    """Relative change of the step per relative change of each constant's seconds.

    By the walk, at a change of 1 %: it knows no contention.
    """
    parts = _Parts.of(case)
    nominal = parts.seconds.sum(axis=1, keepdims=True)
    changed = np.hstack([nominal, nominal + _CHANGE * parts.seconds])
    late = parts.late.sum(axis=1, keepdims=True)
    steps = parts.walk.step_s(changed, np.hstack([late, late + _CHANGE * parts.late]))
    slopes = (steps[1:] / steps[0] - 1.0) / _CHANGE
    return dict(zip(parts.keys, slopes.tolist(), strict=True))


class _Normal:
    """Standard normal scores: one per slice of equal probability, in random order."""

    def __init__(self, rng: np.random.Generator, draws: int) -> None:
        self._rng = rng
        self.draws = draws

    def scores(self) -> Floats:
        """(draws,), with the exact quantiles of a single factor."""
        return self._rng.permutation(_quantiles(self.draws))


@lru_cache(maxsize=8)
def _quantiles(draws: int) -> Floats:
    inverse = NormalDist().inv_cdf
    return np.array([inverse((i + 0.5) / draws) for i in range(draws)])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """The durations of a program as a table, (classes of operations, constants), in seconds.

    ``late`` is how much later other streams see an end, likewise; ``weights`` counts each class in
    a period; ``outside`` are those that do not run on the device.
    """

    walk: Walk
    keys: tuple[str, ...]
    seconds: Floats
    late: Floats
    weights: Floats
    outside: NDArray[np.bool_]

    @classmethod
    def of(cls, case: Case) -> "_Parts":
        walk, cost = walk_of(case), case.cost
        found = [parts_s(cost, op) for op in walk.classes]
        late = [late_parts_s(cost, op) for op in walk.classes]
        keys = tuple(sorted({key for parts in (*found, *late) for key in parts}))
        counts = Counter(walk.like(op) for op in walk.program.period.ops)
        return cls(
            walk=walk,
            keys=keys,
            seconds=np.array([[parts.get(key, 0.0) for key in keys] for parts in found]),
            late=np.array([[parts.get(key, 0.0) for key in keys] for parts in late]),
            weights=np.array([float(counts[walk.like(op)]) for op in walk.classes]),
            outside=_outside(cost, walk),
        )

    @property
    def by_weight(self) -> tuple[str, ...]:
        """Constants, from the one that takes most time in a period."""
        totals = self.weights @ self.seconds
        known = dict(zip(self.keys, totals.tolist(), strict=True))
        return tuple(sorted((k for k, s in known.items() if s > 0.0), key=lambda k: -known[k]))

    def steps_s(self, factors: Floats, simulated_s: float) -> Floats:
        """Steps of all draws, where the constants as they are give ``simulated_s``."""
        nominal = self.seconds.sum(axis=1, keepdims=True)
        late = self.late.sum(axis=1, keepdims=True)
        durations = np.hstack([nominal, self.seconds @ factors])
        durations[self.outside] *= self._contention(nominal, late, simulated_s)
        steps = self.walk.step_s(durations, np.hstack([late, self.late @ factors]))
        return steps[1:] / steps[0] * simulated_s

    def _contention(self, nominal: Floats, late: Floats, simulated_s: float) -> float:
        """[Note: matched walk]: what makes the walk as slow as the simulation."""
        alone_s = self.walk.step_s(nominal, late)[0]
        if simulated_s <= alone_s * (1.0 + 1e-9):
            return 1.0
        tried = np.geomspace(1.0, _SLOWEST, _TRIED)
        durations = np.where(self.outside[:, None], nominal * tried, nominal)
        alike = np.repeat(late, _TRIED, axis=1)
        return float(np.interp(simulated_s, self.walk.step_s(durations, alike), tried))


def _both_ways(prediction: Prediction, normal: _Normal) -> Floats:
    """What the step is multiplied by in every draw of a link with both ways busy; uplinks are of
    its kind."""
    limits_s = prediction.bound.limits_s
    both_s = max(limits_s.get(BOTH_WAYS, 0.0), limits_s.get(UPLINK, 0.0))
    return _drawn(prediction, normal, BOTH, both_s, _busier)


def _memory(prediction: Prediction, normal: _Normal) -> Floats:
    """The same of the memory of each socket, which several devices share; of one it is no
    constant of its own."""
    if prediction.case.cost.setting.several is None:
        return np.ones(normal.draws)
    memory_s = prediction.bound.limits_s.get(Resource.DRAM, 0.0)
    return _drawn(prediction, normal, SOCKET, memory_s, _of_memory)


def _drawn(
    prediction: Prediction,
    normal: _Normal,
    key: str,
    limit_s: float,
    changed: Callable[[Rates, float], Rates],
) -> Floats:
    """By what a shared constant multiplies the step in every draw, simulated at both of its ends;
    by nothing where it could not bind at either."""
    case = prediction.case
    sigma, scores = drawn_sigma(case.machine, key), normal.scores()
    if sigma == 0.0 or limit_s * np.exp(_SIGMAS / 2.0 * sigma) < prediction.step_s:
        return np.ones(len(scores))
    cost, program = case.cost, walk_of(case).program
    ends = np.array([-_SIGMAS / 2.0, 0.0, _SIGMAS / 2.0])
    steps_s = (simulate(program, cost, changed(cost.rates, sigma * z)).step_s for z in ends[::2])
    slowest, fastest = (log(step_s / prediction.step_s) for step_s in steps_s)
    return np.exp(np.interp(scores, ends, [slowest, 0.0, fastest]))


def _of_memory(rates: Rates, exponent: float) -> Rates:
    sharing, factor = rates.sharing, float(np.exp(exponent))
    assert sharing is not None, "several devices share the memory of a socket"
    return replace(rates, sharing=replace(sharing, socket_dram=sharing.socket_dram * factor))


def _busier(rates: Rates, exponent: float) -> Rates:
    """The link with other rates both ways, and uplinks, which are of its kind; no direction is
    faster than with the link to itself."""
    factor = float(np.exp(exponent))
    sharing = rates.sharing
    if sharing is not None:
        link, uplink = _busier_ways(sharing.link, factor), _busier_ways(sharing.uplink, factor)
        sharing = replace(sharing, link=link, uplink=uplink)
    ways = _busier_ways(rates.link, factor)
    return replace(rates, both_h2d=ways.both_h2d, both_d2h=ways.both_d2h, sharing=sharing)


def _busier_ways(ways: TwoWays, factor: float) -> TwoWays:
    return replace(
        ways,
        both_h2d=min(ways.both_h2d * factor, ways.h2d),
        both_d2h=min(ways.both_d2h * factor, ways.d2h),
    )


def _outside(cost: CostModel, walk: Walk) -> NDArray[np.bool_]:
    device = {Resource.COMPUTE, Resource.CORES}
    return np.array([bool(set(cost(op).amounts) - device) for op in walk.classes])


def _factors(key: str, machine: Machine, normal: _Normal) -> Floats:
    """What the seconds of a constant are multiplied by in every draw; 1 where it is not drawn."""
    together = 1.0 if machine.cpu is None else machine.cpu.together_ratio.value
    return np.exp(together * drawn_sigma(machine, key) * normal.scores())


_BEHIND = {
    KERNELS: ("device.gemm_flops_per_s", "device.sustained_ratio"),
    "device.memory_bytes_per_s": ("device.memory_bytes_per_s", "device.pass_ratio"),
}
"""Constants behind the seconds that `zo2sim.cost.parts` finds for one name."""


def _quantities(machine: Machine, key: str) -> tuple[Quantity, ...]:
    known = machine.quantities
    return tuple(known[one] for one in _BEHIND.get(key, (key,)) if one in known)


def _has_interval(machine: Machine, key: str) -> bool:
    return key == KERNELS or any(q.low is not None for q in _quantities(machine, key))


def _computes(key: str) -> bool:
    return key.startswith((KERNELS, "cpu."))


def _misfit(case: Case) -> float:
    """Spread of runs around the cost law: fitted on this machine, or the kernel tables'."""
    cpu = case.cost.setting.cpu
    if cpu is None:
        return case.cost.setting.kernels.gemm.errors["main"].log_sigma
    told = None if case.plan.devices == 1 else cpu.crowded_misfit_ratio
    return (cpu.misfit_ratio if told is None else told).value


def _jitter(machine: Machine) -> float:
    return 0.0 if machine.cpu is None else machine.cpu.jitter_ratio.value


def _holds(case: Case, parts: _Parts) -> tuple[str, ...]:
    """What a band of this case is made of."""
    machine, misfit = case.machine, _misfit(case)
    drawn = [key for key in parts.keys if drawn_sigma(machine, key) > 0.0]
    many = (
        "the interval of 1 constant" if len(drawn) == 1 else f"intervals of {len(drawn)} constants"
    )
    found = [many] if drawn else []
    if case.cost.setting.cpu is not None:
        found.append(f"scatter of runs around their prediction ({misfit:.1%})")
    elif KERNELS in parts.keys:
        found.append(f"scatter around {_kernels(case)} ({misfit:.1%})")
    if machine.cpu is not None:
        found.append(f"scatter of repeated runs ({_jitter(machine):.1%})")
    return tuple(found)


def _kernels(case: Case) -> str:
    """What the kernel times are those of."""
    kernels = case.cost.setting.kernels
    if kernels.gemm.residual is None:
        return "a roofline of other cards"
    return "kernel tables" if kernels.measured else "kernel tables of a sibling card"


def _fits_share(prediction: Prediction, normal: _Normal) -> float:
    """Share of the draws in which every place has room; contexts and sizes may be uncertain."""
    machine, constants = prediction.case.machine, prediction.case.machine.quantities
    fits = np.ones(len(normal.scores()), dtype=bool)
    context = machine.device.context_bytes
    more = context.value * (_factors("device.context_bytes", machine, normal) - 1.0)
    for place in prediction.fits:
        needed = place.needed_bytes + (more if place.place is MemoryPlace.DEVICE else 0.0)
        room = np.full(len(fits), float(place.available_bytes))
        if _ROOM[place.place] in constants:
            room *= _factors(_ROOM[place.place], machine, normal)
        fits &= needed <= room
    return float(fits.mean())
