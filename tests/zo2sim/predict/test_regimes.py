"""Where what binds changes: against a fine scan, on limits by hand and on those of real steps."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import contended_spaces
from tests.thorough import examples
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.regimes import changes, regimes
from zo2sim.predict.sensitivity import LINK, value_of, with_value
from zo2sim.search.space import PlanSpace
from zo2sim.simulate.bounds import Bound, bound

CASE = Case(
    model=preset("opt-125m"), machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe(batch=4)
)
Limits = Callable[[float], Bound]


def limits(*parts: list[tuple[float, float]]) -> Limits:
    """Limit number i is the sum of the times of its operations: each max(a / rate, b)."""
    return lambda rate: Bound(
        limits_s={str(i): sum(max(a / rate, b) for a, b in ops) for i, ops in enumerate(parts)}
    )


def leading(found: Bound) -> set[str]:
    """What binds, with all that is equal to it but for rounding."""
    return {name for name, s in found.limits_s.items() if s >= found.step_s * (1.0 - 1e-12)}


def wrong(
    binding: Callable[[float], set[str]], starts: list[float], high: float, *, looks: int = 500
) -> list[float]:
    """How wide, as factors, the parts are in which something else binds than was found."""
    values = np.geomspace(starts[0], high, looks).tolist()
    ends = [*starts[1:], high]
    found = [
        next(
            binding((low * up) ** 0.5)
            for low, up in zip(starts, ends, strict=True)
            if low <= value <= up
        )
        & binding(value)
        for value in values
    ]
    parts = [list(part) for right, part in groupby(range(looks), lambda i: found[i]) if not right]
    return [values[part[-1]] / values[part[0]] for part in parts]


operations = st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0))


def over_times(at: Limits) -> Limits:
    """The same limits over the time that a rate stands for: they grow where the others fall."""
    return lambda time_s: at(1.0 / time_s)


@settings(max_examples=examples(60))
@given(
    parts=st.lists(st.lists(operations, min_size=1, max_size=3), min_size=1, max_size=4),
    turned=st.sampled_from((lambda at: at, over_times)),
)
def test_what_is_proved_to_bind_binds(
    parts: list[list[tuple[float, float]]], turned: Callable[[Limits], Limits]
):
    """Looked into as finely as can be, only slivers are missed."""
    at = turned(limits(*parts))
    starts = [0.1, *changes(at, 0.1, 100.0, finest=1.01, steady=True)]
    assert all(width < 1.01 for width in wrong(lambda v: leading(at(v)), starts, 100.0))


def test_a_limit_that_binds_only_in_the_middle_is_found():
    at = limits([(100.0, 10.0)], [(50.0, 0.0), (0.0, 8.0)])
    first, second = changes(at, 1.0, 100.0, finest=1.2, steady=True)
    assert (first, second) == pytest.approx((50 / 8, 25.0), rel=2e-3)


@pytest.mark.parametrize("power", [0.1, 0.5, 0.9])
def test_a_scale_between_those_of_the_proof_would_miss_what_binds_in_the_middle(power: float):
    """Times the rate to that power, or over the time to it, limit 0 is nowhere lower at an end
    than limit 1 at any; and yet limit 1 binds between them."""
    high = 1e6
    floor = high**-power
    below = floor - 1 / high
    at = limits([(1.0, floor)], [(0.5, 0.0), (0.0, below)])
    ends = [(rate, at(rate).limits_s) for rate in (1.0, high)]
    assert min(limits_s["0"] * rate**power for rate, limits_s in ends) >= max(
        limits_s["1"] * rate**power for rate, limits_s in ends
    )
    found = changes(at, 1.0, high, finest=1.2, steady=True)
    assert found == pytest.approx([0.5 / below, 0.5 * high], rel=2e-3)
    times = changes(over_times(at), 1 / high, 1.0, finest=1.2, steady=True)
    assert times == pytest.approx([2 / high, 2 * below], rel=2e-3)


def test_of_a_count_the_ends_prove_nothing():
    """Work goes over multiprocessors in waves: more of them may be slower than fewer."""
    key, machine = "device.num_sms", named("rtx-3090-24gb")
    device = replace(machine.device, gemm_flops_per_s=None, sustained_ratio=None)
    case = replace(CASE, machine=replace(machine, device=device), recipe=Recipe())
    counts = [float(number) for number in range(184, 260, 4)]
    compute = [limits_at(case, key, count)["compute"] for count in counts]
    dip = max(range(1, len(counts) - 1), key=lambda i: drop(compute, i))
    low = max(range(dip), key=lambda i: compute[i])
    high = max(range(dip + 1, len(counts)), key=lambda i: compute[i])
    between_s = 0.5 * (compute[dip] + min(compute[low], compute[high]))
    copies_s = bound(case.program, case.cost, case.cost.rates).limits_s["link_both_ways"]
    link = value_of(case.machine, LINK) * copies_s / between_s
    case = replace(case, machine=with_value(case.machine, LINK, link))
    ends = {"low": counts[low], "high": counts[high]}
    assert all(bound_at(case, key, end).binding == "compute" for end in ends.values())
    names = [one.binding for one in regimes(case, key, **ends)]
    assert names[0] == names[-1] == "compute"
    assert len(names) >= 3


def drop(times: list[float], place: int) -> float:
    """How far a time lies below the largest before it, and below the largest after it."""
    return min(max(times[:place]), max(times[place + 1 :])) - times[place]


def bound_at(case: Case, key: str, value: float) -> Bound:
    cost = replace(case, machine=with_value(case.machine, key, value)).cost
    return bound(case.program, cost, cost.rates)


def limits_at(case: Case, key: str, value: float) -> Mapping[str, float]:
    return bound_at(case, key, value).limits_s


def test_proof_takes_few_looks():
    """Two limits that fall in proportion never meet, which their ends show."""
    asked: list[float] = []

    def at(rate: float) -> Bound:
        asked.append(rate)
        return limits([(100.0, 0.0)], [(99.9, 0.0)])(rate)

    assert changes(at, 1.0, 1000.0, finest=1.01, steady=True) == []
    assert set(asked) == {1.0, 1000.0}
    assert changes(at, 1.0, 1000.0, finest=1.01, steady=False) == []
    assert len(set(asked)) > 500


@settings(max_examples=examples(12))
@given(
    asked=contended_spaces(),
    key=st.sampled_from((LINK, "host.dram_bytes_per_s", "link.latency_s", "device.num_sms")),
    number=st.integers(0, 3),
)
def test_regimes_of_a_step_are_those_of_a_scan(asked: PlanSpace, key: str, number: int):
    """What is missed is narrower than a 32nd of the range."""
    case = asked.cores[number % len(asked.cores)]
    program, value = case.program, value_of(case.machine, key)
    low, high = value / 16, value * 16

    def binding(value: float) -> set[str]:
        cost = replace(case, machine=with_value(case.machine, key, value)).cost
        return leading(bound(program, cost, cost.rates))

    known: dict[float, set[str]] = {}
    starts = [band.low for band in regimes(case, key, low=low, high=high)]
    missed = wrong(
        lambda v: known.setdefault(v, known.get(v) or binding(v)), starts, high, looks=60
    )
    assert all(width < 256 ** (1 / 32) for width in missed)


def test_a_breakpoint_is_where_what_binds_changes():
    """On both sides of each breakpoint another limit binds, and regimes cover the range."""
    found = regimes(CASE, LINK, low=1e9, high=1e12)
    assert (found[0].low, found[-1].high) == (1e9, 1e12)
    assert [a.high for a in found[:-1]] == [b.low for b in found[1:]]
    assert found[0].binding.startswith("link")
    assert found[-1].binding in ("compute", "dependencies")
    for before, after in pairwise(found):
        assert before.binding != after.binding
        sides = [binding_at(after.low * factor) for factor in (1 - 2e-3, 1 + 1e-6)]
        assert sides == [before.binding, after.binding]


def binding_at(rate: float) -> str:
    case = replace(CASE, machine=with_value(CASE.machine, LINK, rate))
    return bound(case.program, case.cost, case.cost.rates).binding
