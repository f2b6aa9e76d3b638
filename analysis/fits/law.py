"""Constants of a machine from measured durations: a robust fit of the linear law, with intervals.

A duration is the sum of known amounts, each times an unknown constant (`zo2sim.cost.cpu`). The fit
works on logarithms of both: errors are relative, and constants stay positive. A wide prior around
each start value (a factor of about 20 either way, one standard deviation) stands in for what the
rows do not say, and `Fit.warnings` names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats  # pyright: ignore[reportMissingTypeStubs]

from zo2sim.cost.cpu import seconds_per
from zo2sim.cost.measured import Measured

Floats = NDArray[np.float64]

PRIOR_LOG_SIGMA = 3.0
LOOP_LOG_SIGMA = 0.15
"""Assumed: how far a benchmark in a loop is from a run, before runs were measured."""
LEAST_LOG_SIGMA = 0.003
"""No group of rows is taken to be steadier than this."""
_ROUNDS = 4
_BORROWED = 6  # rows
_UNKNOWN = 0.5  # log standard error from which on a constant counts as not identified
_ALIKE = 0.95  # correlation of two estimates that the rows cannot tell apart
_LOOSE = 0.10  # and of which at least one is this uncertain


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Fitted constants: natural logs of seconds per unit, with their covariance.

    ``residuals`` are log(measured / fitted), in the order of ``rows``; ``log_sigmas`` the robust
    spread of each group.
    """

    keys: tuple[str, ...]
    log_seconds: Floats
    covariance: Floats
    rows: tuple[Measured, ...]
    residuals: Floats
    log_sigmas: Mapping[str, float]

    @cached_property
    def log_errors(self) -> Floats:
        """Standard errors of ``log_seconds``."""
        return np.sqrt(np.diag(self.covariance))

    def interval(self, key: str) -> tuple[float, float, float]:
        """Low, value and high of a constant in its own unit; low to high is its 95 % interval."""
        j = self.keys.index(key)
        reach = self._quantile * self.log_errors[j]
        ends = (self.log_seconds[j] + shift for shift in (-reach, 0.0, reach))
        low, value, high = sorted(seconds_per(key, float(np.exp(end))) for end in ends)
        return low, value, high

    @property
    def _quantile(self) -> float:
        names = {row.name for row in self.rows}
        freedom = max(1, len(names) - len(self.keys))
        return float(stats.t.ppf(0.975, freedom))  # pyright: ignore[reportUnknownMemberType]

    @property
    def untold(self) -> list[str]:
        """Constants that these rows say nothing of."""
        return [k for k, e in zip(self.keys, self.log_errors, strict=True) if e > _UNKNOWN]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What these rows cannot tell: single constants, and pairs that stand for each other."""
        unknown = self.untold
        found = [
            f"this run cannot tell {key}: its interval is {self._factor(key)}" for key in unknown
        ]
        for one, other in self._confused():
            if one not in unknown and other not in unknown:
                found.append(f"this run cannot tell {one} from {other}")
        return tuple(found)

    def _factor(self, key: str) -> str:
        low, _, high = self.interval(key)
        return f"a factor of {high / low:.3g} wide"

    def _confused(self) -> list[tuple[str, str]]:
        scale = np.where(self.log_errors > 0.0, self.log_errors, 1.0)
        correlation = np.abs(self.covariance / np.outer(scale, scale))
        pairs = zip(*np.nonzero(np.triu(correlation > _ALIKE, k=1)), strict=True)
        loose = self.log_errors > _LOOSE
        return [(self.keys[i], self.keys[j]) for i, j in pairs if loose[i] or loose[j]]


def fit(rows: Sequence[Measured], start_s: Mapping[str, float]) -> Fit:
    """Constants that explain the rows; ``start_s`` holds plausible seconds per unit of each.

    Raises ``ValueError`` without rows, or for a constant without a start value.
    """
    if not rows:
        raise ValueError("a fit needs at least one measurement; got none")
    keys = tuple(sorted({key for row in rows for key, a in row.amounts.items() if a > 0.0}))
    missing = [key for key in keys if key not in start_s]
    if missing:
        raise ValueError(f"every constant needs a start value; none for {', '.join(missing)}")
    problem = _Problem.of(rows, keys, start_s)
    theta, sigmas = problem.solve()
    count = len(keys)
    return Fit(
        keys=keys,
        log_seconds=theta[:count] + problem.start,
        covariance=problem.covariance(theta, sigmas)[:count, :count],
        rows=tuple(rows),
        residuals=-problem.misfit(theta),
        log_sigmas={name: float(sigmas[i]) for i, name in enumerate(problem.groups)},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """The rows as arrays, relative to each row's duration.

    ``shares`` is each amount at its constant's start value, ``known`` the part that needs no fit;
    ``loops`` has a column per group of benchmarks, 1 in its rows. What is fitted (theta) is the
    log of each constant over its start, then the log of each group's factor.
    """

    shares: Floats
    known: Floats
    loops: Floats
    start: Floats
    groups: tuple[str, ...]
    group_of: NDArray[np.int64]
    name_of: NDArray[np.int64]

    @classmethod
    def of(
        cls, rows: Sequence[Measured], keys: Sequence[str], start_s: Mapping[str, float]
    ) -> "_Problem":
        amounts = np.array([[float(row.amounts.get(key, 0.0)) for key in keys] for row in rows])
        start = np.array([start_s[key] for key in keys])
        measured = np.array([row.seconds for row in rows])
        groups = tuple(sorted({row.group for row in rows}))
        looped = sorted({row.group for row in rows if row.in_loop})
        loops = [[float(row.in_loop and row.group == group) for group in looped] for row in rows]
        names = sorted({row.name for row in rows})
        return cls(
            shares=amounts * start / measured[:, None],
            known=np.array([row.known_s for row in rows]) / measured,
            loops=np.array(loops).reshape(len(rows), len(looped)),
            start=np.log(start),
            groups=groups,
            group_of=np.array([groups.index(row.group) for row in rows]),
            name_of=np.searchsorted(names, [row.name for row in rows]),
        )

    def misfit(self, theta: Floats) -> Floats:
        """log(fitted / measured) of every row."""
        count = len(self.start)
        return np.log(self.shares @ np.exp(theta[:count]) + self.known) - self.loops @ theta[count:]

    @property
    def _prior(self) -> Floats:
        """Standard deviation of everything that is fitted, before any row was seen."""
        sigmas = (PRIOR_LOG_SIGMA, LOOP_LOG_SIGMA)
        return np.repeat(sigmas, (len(self.start), self.loops.shape[1]))

    def solve(self) -> tuple[Floats, Floats]:
        """The constants, relative to their start, and the spread of every group."""
        theta = np.zeros(len(self._prior))
        sigmas = np.full(len(self.groups), 0.1)
        for _ in range(_ROUNDS):
            theta = self._minimise(theta, sigmas)
            sigmas = self._spread(theta)
        return theta, sigmas

    def _minimise(self, theta: Floats, sigmas: Floats) -> Floats:
        scale = sigmas[self.group_of]
        prior = np.diag(1.0 / self._prior)

        def residuals(x: Floats) -> Floats:
            return np.concatenate([_squeezed(self.misfit(x) / scale), x / self._prior])

        def slopes(x: Floats) -> Floats:
            scores = self.misfit(x) / scale
            mine = self._slopes(x) * (_squeezing(scores) / scale)[:, None]
            return np.vstack([mine, prior])

        found = optimize.least_squares(residuals, theta, slopes)  # pyright: ignore
        return np.asarray(found.x, dtype=np.float64)  # pyright: ignore

    def _slopes(self, theta: Floats) -> Floats:
        """Of the misfit: what each constant and factor changes it by, (rows, constants)."""
        fitted = self.shares * np.exp(theta[: len(self.start)])
        whole = fitted.sum(axis=1) + self.known
        return np.hstack([fitted / whole[:, None], -self.loops])

    def _spread(self, theta: Floats) -> Floats:
        """1.4826 x median absolute error, widened for the constants that a group's rows paid for.

        A small group borrows from the spread of all rows, as if it had `_BORROWED` rows of it.
        """
        errors = np.abs(self.misfit(theta))
        paid = np.sqrt(len(errors) / max(1.0, len(errors) - len(theta)))
        members = [errors[self.group_of == i] for i in range(len(self.groups))]
        spread = 1.4826 * paid * np.array([np.median(own) for own in members])
        counts = np.array([len(own) for own in members])
        pooled = np.median(spread[self.group_of])
        mixed = (counts * spread**2 + _BORROWED * pooled**2) / (counts + _BORROWED)
        return np.maximum(np.sqrt(mixed), LEAST_LOG_SIGMA)

    def covariance(self, theta: Floats, sigmas: Floats) -> Floats:
        """The larger, per constant, of the model's covariance and of one robust to its errors.

        The second (a sandwich) adds up what rows of one name say together, so that measuring a
        shape again does not count as measuring another one.
        """
        scale = sigmas[self.group_of]
        slopes = self._slopes(theta) / scale[:, None]
        scores = self.misfit(theta) / scale
        pull = 1.0 / np.sqrt(1.0 + (scores / _TUNING) ** 2)
        weights = pull**3  # the loss's curvature, where `pull` is its slope over the score
        prior = np.diag(self._prior**-2.0)
        information = (slopes * weights[:, None]).T @ slopes + prior
        inverse = np.linalg.inv(information).astype(np.float64)
        leverage = ((slopes @ inverse) * slopes).sum(axis=1) * weights
        pulls = slopes * (pull * scores / np.clip(1.0 - leverage, 0.1, 1.0))[:, None]
        summed = np.zeros((int(self.name_of.max()) + 1, len(theta)))
        np.add.at(summed, self.name_of, pulls)
        sandwich: Floats = inverse @ (summed.T @ summed + prior) @ inverse
        return _widened(inverse, sandwich)


_TUNING = 2.5  # in standard deviations: where a row begins to count less


def _squeezed(scores: Floats) -> Floats:
    """Residuals whose squares are the robust loss 2 c^2 (sqrt(1 + (r / c)^2) - 1)."""
    loss = 2.0 * _TUNING**2 * (np.sqrt(1.0 + (scores / _TUNING) ** 2) - 1.0)
    return np.sign(scores) * np.sqrt(loss)


def _squeezing(scores: Floats) -> Floats:
    """The slope of `_squeezed`."""
    squeezed = np.abs(_squeezed(scores))
    pull = np.abs(scores) / np.sqrt(1.0 + (scores / _TUNING) ** 2)
    return np.divide(pull, squeezed, out=np.ones_like(scores), where=squeezed > 1e-9)


def _widened(one: Floats, other: Floats) -> Floats:
    """``one``'s correlations, with the larger of both variances."""
    variances = np.maximum(np.diag(one), np.diag(other))
    factor = np.sqrt(variances / np.diag(one))
    return one * np.outer(factor, factor)
