"""Which limit binds as a constant of the machine varies, and where that changes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt

from zo2sim.predict.case import Case
from zo2sim.predict.sensitivity import LINK, with_value
from zo2sim.simulate.bounds import Bound, bound, chain_of

_PARTS = 32  # parts of a range, at the most, between which limits are looked for
_SHARP = 1e-3  # relative width of a breakpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """Between two values of a constant the same limit binds; ``low_s`` and ``high_s`` are bounds
    of the step at its ends."""

    low: float
    high: float
    binding: str
    low_s: float
    high_s: float


def regimes(case: Case, key: str, *, low: float, high: float) -> tuple[Regime, ...]:
    """Which limit binds between two values of a constant, from the lower to the higher.

    A change is known to a thousandth, with another limit on either side of it. Limits grow or
    fall with a rate or a time, and no faster than in proportion, so two values can prove that one
    limit binds everywhere between them; where they do not, halves are looked at, down to a
    32nd of the range. A limit that binds only within a part so small is missed.
    """
    if not 0.0 < low < high:
        raise ValueError(f"{key}: a range must have 0 < low < high; got {low:g} to {high:g}")
    at = _limits(case, key)
    finest = (high / low) ** (1 / _PARTS) * (1 + _SHARP)
    steady = key == LINK or key.endswith("_s")
    starts = [low, *changes(at, low, high, finest=finest, steady=steady)]
    ends = [*starts[1:], high]
    return tuple(_regime(at, *ends_) for ends_ in zip(starts, ends, strict=True))


def changes(
    at: Callable[[float], Bound], left: float, right: float, *, finest: float, steady: bool
) -> list[float]:
    """Where what binds changes between two values; both sides of a change are looked at.

    Where one limit binds at both ends of a part, the part is not looked into if it is no wider
    than the factor ``finest``, or if limits are ``steady`` and the ends prove that it binds
    throughout. Steady limits only grow or only fall with the value, and at most in proportion.
    """
    alike = at(left).binding == at(right).binding
    if alike and (right <= left * finest or (steady and _binds_between(at, left, right))):
        return []
    if right <= left * (1 + _SHARP):
        return [right]
    middle = sqrt(left * right)
    return [
        change
        for ends in ((left, middle), (middle, right))
        for change in changes(at, *ends, finest=finest, steady=steady)
    ]


def _limits(case: Case, key: str) -> Callable[[float], Bound]:
    """Every limit of the step at a value."""
    program = case.program
    chain = chain_of(program)
    known: dict[float, Bound] = {}

    def at(value: float) -> Bound:
        if value not in known:
            cost = replace(case, machine=with_value(case.machine, key, value)).cost
            known[value] = bound(program, cost, cost.rates, chain=chain)
        return known[value]

    return at


def _binds_between(at: Callable[[float], Bound], left: float, right: float) -> bool:
    """Whether the limit that binds at both values is proved to bind everywhere between them.

    A limit lies between its ends, and so does a limit times or over the value: one that is never
    below what any other reaches binds, in any of these three scales. Higher powers of the value
    would prove nothing more, and powers between these would be wrong.
    """
    name = at(left).binding
    ends = tuple((value, at(value).limits_s) for value in (left, right))
    others = {other for _, limits_s in ends for other in limits_s if other != name}
    return any(
        min(limits_s[name] * value**power for value, limits_s in ends)
        >= max(
            (
                limits_s.get(other, limits_s[name]) * value**power
                for value, limits_s in ends
                for other in others
            ),
            default=0.0,
        )
        for power in (0, 1, -1)
    )


def _regime(at: Callable[[float], Bound], low: float, high: float) -> Regime:
    """Named after what binds where it begins, which is a value on this side of the change."""
    return Regime(
        low=low,
        high=high,
        binding=at(low).binding,
        low_s=at(low).step_s,
        high_s=at(high).step_s,
    )
