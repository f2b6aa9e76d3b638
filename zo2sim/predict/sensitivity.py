"""What a step depends on: elasticities, and grids of two axes.

A key is a dotted constant of the machine, or `LINK`, which stands for every rate of its link.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np

from zo2sim.machines.keys import LIMITS
from zo2sim.machines.machine import CEILINGS, Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.machines.units import units_of
from zo2sim.machines.what_if import replace_all, scale_link
from zo2sim.predict.case import Case
from zo2sim.schedule.ops import Op, Program
from zo2sim.simulate.events import simulate
from zo2sim.simulate.steady import Floats
from zo2sim.simulate.work import Resource

LINK = "link"
Each = Callable[[Sequence[str]], Iterable[str]]
"""What shows how far a loop is: it yields every item, and counts."""
SWING = 1.25
"""Factor by which a constant is made larger and smaller for a tornado."""
_NEAR = 1.01  # factor of a derivative


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """``elasticity`` is the relative change of the step over that of the constant, at its value.

    ``low_s`` and ``high_s`` are the steps with the constant divided and multiplied by `SWING`.
    """

    key: str
    value: float
    elasticity: float
    low_s: float
    high_s: float

    @property
    def swing_s(self) -> float:
        """How much the step changes over the swing."""
        return abs(self.high_s - self.low_s)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Step times, ``step_s[i, j]`` for ``ys[i]`` and ``xs[j]``."""

    x_key: str
    y_key: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    step_s: Floats


def elasticities(case: Case, *, each: Each = iter) -> tuple[Elasticity, ...]:
    """One per constant that the step depends on, from the largest swing down; ``each`` hands the
    keys of all constants on, one by one.

    A rate of the link with both ways busy never exceeds that of one way, and none a limit, so a
    change that would make it do so stops there. Constants that change no operation's cost are left
    out.
    """
    program, machine = case.program, case.machine
    found: list[Elasticity] = []
    for key in each(tuple(machine.quantities)):
        around = {f: varied(machine, key, f) for f in (1 / SWING, 1 / _NEAR, _NEAR, SWING)}
        if all(_costs_alike(program, case, other) for other in around.values()):
            continue
        step_s = {f: _step_s(program, replace(case, machine=m)) for f, m in around.items()}
        found.append(
            Elasticity(
                key=key,
                value=machine.quantity(key).value,
                elasticity=_slope(key, around, step_s),
                low_s=step_s[1 / SWING],
                high_s=step_s[SWING],
            )
        )
    return tuple(sorted(found, key=lambda e: -e.swing_s))


def grid(case: Case, x_key: str, xs: Sequence[float], y_key: str, ys: Sequence[float]) -> Grid:
    """Step times for every pair of values of two constants, simulated one by one."""
    program = case.program
    rows = [
        [
            _step_s(program, replace(case, machine=with_value(one, y_key, y)))
            for one in (with_value(case.machine, x_key, x) for x in xs)
        ]
        for y in ys
    ]
    return Grid(
        x_key=x_key, y_key=y_key, xs=tuple(xs), ys=tuple(ys), step_s=np.array(rows, dtype=float)
    )


def value_of(machine: Machine, key: str) -> float:
    """The constant's value; for `LINK` the rate to the device. ``ValueError`` for another key."""
    if key == LINK:
        return machine.link.h2d_bytes_per_s.value
    if key not in machine.quantities:
        raise ValueError(
            f"a key must be {LINK} or a constant of {machine.name} such as host.dram_bytes_per_s; "
            f"got {key!r}"
        )
    return machine.quantities[key].value


def with_value(machine: Machine, key: str, value: float) -> Machine:
    """The machine with the constant at a value; see `varied`."""
    return varied(machine, key, value / value_of(machine, key))


def varied(machine: Machine, key: str, factor: float) -> Machine:
    """The machine with a constant multiplied; counts become whole, plausible limits hold.

    A rate of the link stays within those that bound it, and takes along those that it bounds.
    """
    if key == LINK:
        return scale_link(machine, factor)
    least, most = LIMITS[key]
    value = min(max(value_of(machine, key) * factor, least), most)
    if not units_of(key)[0].suffix:
        value = float(max(1, round(value)))
    return replace_all(machine, _within_bounds(machine.quantities, key, value))


def _within_bounds(known: Mapping[str, Quantity], key: str, value: float) -> dict[str, float]:
    """The value, no more than its bounds; and what it bounds, no more than the value."""
    bounds = [(f"link.{rate}", f"link.{most}") for rate, most, _ in CEILINGS]
    value = min([value, *(known[m].value for rate, m in bounds if rate == key and m in known)])
    below = {
        rate: min(value, known[rate].value)
        for rate, most in bounds
        if most == key and rate in known
    }
    return {key: value} | below


def _slope(key: str, around: dict[float, Machine], step_s: dict[float, float]) -> float:
    """Over the smallest change that changes the value: counts may need the wider one."""
    for down, up in ((1 / _NEAR, _NEAR), (1 / SWING, SWING)):
        low, high = value_of(around[down], key), value_of(around[up], key)
        if high > low:
            return log(step_s[up] / step_s[down]) / log(high / low)
    return 0.0


def _costs_alike(program: Program, case: Case, machine: Machine) -> bool:
    here, there = case.cost, replace(case, machine=machine).cost
    ops = _kinds(program)
    if any(here(op) != there(op) for op in ops):
        return False
    used = {resource.value for op in ops for resource in here(op).amounts}
    if {Resource.LINK_H2D, Resource.LINK_D2H} <= used:
        used |= {"both_h2d", "both_d2h"}
    return all(getattr(here.rates, name) == getattr(there.rates, name) for name in used)


def _kinds(program: Program) -> tuple[Op, ...]:
    """One operation of every cost."""
    seen: dict[object, Op] = {}
    for op in (*program.prologue.ops, *program.period.ops):
        seen.setdefault((op.kind, op.unit, op.lanes, op.records), op)
    return tuple(seen.values())


def _step_s(program: Program, case: Case) -> float:
    cost = case.cost
    return simulate(program, cost, cost.rates).step_s
