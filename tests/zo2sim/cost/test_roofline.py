"""Rooflines by hand, and the corrections to them."""

from dataclasses import replace

import numpy as np
import pytest

from zo2sim.cost.kernels.gemm import GemmRoofline
from zo2sim.cost.kernels.residual import GridResidual
from zo2sim.cost.kernels.roofline import Rates, memory_s, smooth_maximum

WITHOUT_COSTS = GemmRoofline(
    launch_s=0,
    setup_depth=0,
    split_depth=9,
    overhead_128x256=9,
    overhead_128x128=0,
    overhead_64x128=9,
    overhead_64x64=9,
    last_wave_overlap=0,
    overlap_power=1,
    idle_speedup=0,
    memory_overhead=0,
    l2_bytes=1e-9,
    l2_speedup=1,
    sharpness=50,
)


# The roofline by hand: 128 x 128 tiles, 4 SMs, no other cost


def test_a_wave_costs_the_same_full_or_not():
    rates = Rates(flops_per_s=2.0 * 128 * 128 * 4, bytes_per_s=1e18, num_sms=4)
    rows = np.array([128.0, 512.0, 513.0, 1024.0])
    one, k = np.full(4, 128.0), np.ones(4)
    assert WITHOUT_COSTS.time_s(rows, one, k, rates) == pytest.approx([1, 1, 2, 2])


def test_a_last_wave_overlaps_more_on_a_faster_sm():
    """5 of 4 SMs' tiles: a quarter of the last wave is full, and takes 1 / (1 + overlap) of it."""
    roofline = replace(WITHOUT_COSTS, last_wave_overlap=0.5, overlap_power=2.0)
    one, rows = np.ones(1), np.array([5 * 128.0])
    waves: list[float] = []
    for speed in (1, 2):
        rates = Rates(flops_per_s=speed * 16e12, bytes_per_s=1e30, num_sms=4)
        wave_s = 2.0 * 128 * 128 * 4 / rates.flops_per_s
        waves.append(float(roofline.time_s(rows, 128 * one, one, rates)[0]) / wave_s)
    assert waves == pytest.approx([1 + 1 / 1.5, 1 + 1 / 3])


def test_tiles_run_faster_where_the_device_is_not_full():
    rates = Rates(flops_per_s=2.0 * 128 * 128 * 4, bytes_per_s=1e18, num_sms=4)
    roofline = replace(WITHOUT_COSTS, idle_speedup=1.0)
    rows, one = np.array([128.0, 384.0, 512.0]), np.ones(3)
    assert roofline.time_s(rows, 128 * one, one, rates) == pytest.approx([0.5, 0.75, 1])


def test_a_deep_product_is_split_where_that_fills_the_device():
    rates = Rates(flops_per_s=2.0 * 128 * 128 * 4, bytes_per_s=1e18, num_sms=4)
    roofline = replace(WITHOUT_COSTS, split_depth=10.0)
    rows, depth = np.full(2, 128.0), np.array([8.0, 800.0])
    assert roofline.time_s(rows, rows, depth, rates) == pytest.approx([8, 200 + 10])


def test_memory_bounds_thin_products():
    rates = Rates(flops_per_s=1e18, bytes_per_s=2.0, num_sms=4)
    m, n, k = np.array([1.0]), np.array([10.0]), np.array([100.0])
    assert WITHOUT_COSTS.time_s(m, n, k, rates) == pytest.approx([100 + 1000 + 10])


def test_l2_speeds_up_what_it_holds():
    rates = Rates(flops_per_s=1.0, bytes_per_s=10.0, num_sms=1)
    nbytes = np.array([1.0, 1e9])
    seconds = memory_s(nbytes, rates, overhead=0, l2_bytes=1e4, l2_speedup=1)
    assert seconds * 10 / nbytes == pytest.approx([0.5, 1], rel=1e-6)


def test_a_smooth_maximum_lies_between_maximum_and_sum():
    parts = [np.array([3.0]), np.array([4.0])]
    assert [float(smooth_maximum(parts, s)[0]) for s in (0, 1)] == pytest.approx([7, 5])


# The correction


def grid(*axis: float) -> GridResidual:
    """Values count the points: the last axis in ones, the first two in hundreds and tens."""
    points = np.array(axis)
    first, second, third = np.indices((len(axis),) * 3)
    return GridResidual(axes=(points, points, points), values=100.0 * first + 10 * second + third)


def test_the_correction_is_linear_in_octaves():
    x, y, z = np.array([2.0, 8.0]), np.array([8.0, 16.0]), np.array([32.0, 2.0**1.5])
    assert grid(2, 8, 32)(x, y, z) == pytest.approx([12, 100 + 15 + 0.25])


def test_the_correction_saturates_outside_its_grid():
    residual = grid(1, 2, 4)
    inside, outside = (residual(*(np.array([x]),) * 3) for x in (4.0, 400.0))
    assert inside == outside == 222


def test_values_lie_on_the_grid():
    with pytest.raises(ValueError, match=r"shape of axes, \(3, 3, 3\); got \(2, 2, 2\)"):
        replace(grid(1, 2, 4), values=np.zeros((2, 2, 2)))
