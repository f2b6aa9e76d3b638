"""Shared pools: hand-worked shares, and properties of what is max-min fair."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from tests.thorough import examples
from zo2sim.simulate.pools import Flow, rates

POOLS = ("dram0", "dram1", "uplink0", "uplink1", "issue")

amounts = st.dictionaries(st.sampled_from(POOLS), st.floats(0.1, 10.0), max_size=4)
flow = st.builds(Flow, st.floats(0.01, 100.0), amounts)
flows = st.lists(flow, min_size=1, max_size=7)
linprog: Any = vars(optimize)["linprog"]  # to infer what it returns takes pyright 100 s
capacities = st.fixed_dictionaries({pool: st.floats(0.5, 50.0) for pool in POOLS})


def copies(*wants: float, **pools: float) -> list[Flow]:
    """Flows that each draw as much from the pools, at speeds of their own."""
    return [Flow(want, pools) for want in wants]


# By hand


def test_a_pool_that_has_plenty_slows_nobody():
    assert rates(copies(2.0, 3.0, dram=1.0), {"dram": 6.0}) == [2.0, 3.0]


def test_who_wants_least_is_served_and_the_rest_share():
    assert rates(copies(9.0, 1.0, 9.0, dram=1.0), {"dram": 9.0}) == [4.0, 1.0, 4.0]


def test_what_a_full_uplink_leaves_of_the_memory_goes_to_others():
    """Two copies share an uplink of 4; a third one by another way gets the rest of the memory."""
    behind = copies(9.0, 9.0, dram=1.0, uplink=1.0)
    beside = copies(9.0, dram=1.0)
    assert rates([*behind, *beside], {"dram": 10.0, "uplink": 4.0}) == [2.0, 2.0, 6.0]


def test_both_ways_through_a_bounce_buffer_count_three_times():
    """A copy that reads memory three times gets as much of the memory, and a third of the copy."""
    thrice, once = Flow(9.0, {"dram": 3.0}), Flow(9.0, {"dram": 1.0})
    assert rates([thrice, once], {"dram": 6.0}) == [1.0, 3.0]


def test_a_flow_that_draws_nothing_goes_as_fast_as_it_can():
    assert rates([Flow(7.0, {}), Flow(9.0, {"dram": 1.0})], {"dram": 2.0}) == [7.0, 2.0]


def test_a_pool_must_have_a_capacity():
    with pytest.raises(KeyError, match="fabric"):
        rates(copies(1.0, fabric=1.0), {"dram": 1.0})


# Properties


def used(flows: Sequence[Flow], speeds: Sequence[float], pool: str) -> float:
    return sum(s * f.amounts.get(pool, 0.0) for s, f in zip(speeds, flows, strict=True))


@given(flows, capacities)
@settings(max_examples=examples(100), deadline=None)
def test_no_pool_is_overdrawn_and_nobody_is_faster_than_it_can_be(
    flows: list[Flow], capacities: Mapping[str, float]
):
    speeds = rates(flows, capacities)
    assert all(0.0 < s <= f.speed for s, f in zip(speeds, flows, strict=True))
    for pool, capacity in capacities.items():
        assert used(flows, speeds, pool) <= capacity * (1 + 1e-9)


@given(flows, capacities)
@settings(max_examples=examples(100), deadline=None)
def test_each_flow_is_as_fast_as_it_can_be_or_bound_by_a_full_pool(
    flows: list[Flow], capacities: Mapping[str, float]
):
    """The bottleneck condition: in some full pool of its own, nobody has risen higher."""
    speeds = rates(flows, capacities)
    levels = [s * f.size for s, f in zip(speeds, flows, strict=True)]
    full = {p for p, c in capacities.items() if used(flows, speeds, p) >= c * (1 - 1e-9)}
    for n, one in enumerate(flows):
        bound = [
            pool
            for pool in full & one.amounts.keys()
            if all(
                levels[m] <= levels[n] * (1 + 1e-9)
                for m, f in enumerate(flows)
                if pool in f.amounts
            )
        ]
        assert speeds[n] == one.speed or bound


@given(flows, capacities)
@settings(max_examples=examples(20), deadline=None)
def test_the_levels_are_those_of_linear_programmes(
    flows: list[Flow], capacities: Mapping[str, float]
):
    """Max-min by definition: raise the lowest level, fix who cannot be higher, and so on."""
    drawing = [f for f in flows if f.amounts]
    speeds = rates(drawing, capacities)
    levels = [s * f.size for s, f in zip(speeds, drawing, strict=True)]
    assert levels == pytest.approx(by_programmes(drawing, capacities), rel=1e-6)


def by_programmes(flows: Sequence[Flow], capacities: Mapping[str, float]) -> list[float]:
    """Level by level: the highest one that all open flows reach, then those that none can pass."""
    fixed: dict[int, float] = {}
    shares = np.array([[f.amounts.get(p, 0.0) / f.size for f in flows] for p in capacities])
    rows = shares.reshape(len(capacities), len(flows))
    while len(fixed) < len(flows):
        level = _highest(flows, rows, capacities, fixed, None, 0.0)
        still = [n for n in range(len(flows)) if n not in fixed]
        most = {n: _highest(flows, rows, capacities, fixed, n, level) for n in still}
        fixed |= {n: level for n in still if most[n] <= level * (1 + 1e-7)}
    return [fixed[n] for n in range(len(flows))]


def _highest(
    flows: Sequence[Flow],
    rows: np.ndarray,
    capacities: Mapping[str, float],
    fixed: Mapping[int, float],
    one: int | None,
    least: float,
) -> float:
    """The highest common level of the open flows; or of one, the others being at least as high."""
    count = len(flows)
    cost = np.zeros(count + 1)
    cost[count if one is None else one] = -1.0
    bounds = [
        (fixed[n], fixed[n]) if n in fixed else (least * (1 - 1e-12), f.speed * f.size)
        for n, f in enumerate(flows)
    ]
    above = np.array(
        [[-float(n == m) for m in range(count)] + [1.0] for n in range(count) if n not in fixed]
    )
    limits = np.hstack([rows, np.zeros((len(rows), 1))])
    room = [*capacities.values()]
    if one is None:
        limits, room = np.vstack([limits, above]), [*room, *[0.0] * len(above)]
    found = linprog(cost, A_ub=limits, b_ub=room, bounds=[*bounds, (0.0, None)], method="highs")
    assert found.success, found.message
    return -float(found.fun)


@given(flows, capacities, st.integers(0, 2**32))
@settings(max_examples=examples(50), deadline=None)
def test_the_order_of_flows_does_not_matter(
    flows: list[Flow], capacities: Mapping[str, float], seed: int
):
    order = [*range(len(flows))]
    random.Random(seed).shuffle(order)
    speeds = rates([flows[n] for n in order], capacities)
    assert speeds == pytest.approx([rates(flows, capacities)[n] for n in order], rel=1e-9)


@given(
    st.lists(st.tuples(st.floats(0.01, 1e3), st.floats(0.0, 1e3)), max_size=8), st.floats(0.1, 1e4)
)
@settings(max_examples=examples(200), deadline=None)
def test_one_pool_is_water_filling_to_the_last_bit(
    wants: list[tuple[float, float]], capacity: float
):
    """What one device's memory has been divided by: served in the order of what each wants."""
    flows = [Flow(speed, {"dram": amount} if amount > 0.0 else {}) for speed, amount in wants]
    assert rates(flows, {"dram": capacity}) == filled(wants, capacity)


def filled(wants: Sequence[tuple[float, float]], capacity: float) -> list[float]:
    speeds = [speed for speed, _ in wants]
    users = [n for n, (_, amount) in enumerate(wants) if amount > 0.0]
    if sum(speeds[n] * wants[n][1] for n in users) < 0.999 * capacity:
        return speeds
    users.sort(key=lambda n: speeds[n] * wants[n][1])
    free = capacity
    for position, n in enumerate(users):
        share = free / (len(users) - position)
        speeds[n] = min(speeds[n], share / wants[n][1])
        free -= speeds[n] * wants[n][1]
    return speeds
