"""Bands: as wide as the intervals say, and the same from the same seed."""

from dataclasses import replace

import pytest

from tests.calibrated import calibrated_host, quantity
from tests.test_cpu_cost import case
from zo2sim.bands import band
from zo2sim.case import Case
from zo2sim.machine_file import named
from zo2sim.plan import Plan, Policy, Recipe
from zo2sim.predict import predict
from zo2sim.presets import preset

RESIDENT = Plan(policy=Policy.RESIDENT)


def spread(wide: float | None = None, **changes: float) -> Case:
    return replace(case(RESIDENT), machine=calibrated_host(wide, **changes))


def test_the_prediction_lies_in_its_band():
    one = spread(1.2)
    found = band(one)
    assert found.low_step_s < predict(one).step_s < found.high_step_s
    assert found.low_tokens_per_s == 2 / found.high_step_s


def test_the_same_seed_gives_the_same_band():
    assert band(spread(1.2), seed=3) == band(spread(1.2), seed=3)
    assert band(spread(1.2), seed=3) != band(spread(1.2), seed=4)


def test_jitter_alone_gives_its_own_ninety_percent():
    found = band(spread(misfit_ratio=1e-6, jitter_ratio=0.03), draws=400)
    assert found.width == pytest.approx(2 * 1.645 * 0.03, rel=0.2)


def test_the_misfit_is_common_to_all_that_computes():
    found = band(spread(misfit_ratio=0.03, jitter_ratio=1e-6), draws=400)
    assert found.width == pytest.approx(2 * 1.645 * 0.03, rel=0.2)


def test_wider_intervals_give_wider_bands():
    narrow, wide = (band(spread(w)).width for w in (1.02, 1.3))
    assert wide > 1.2 * narrow


def test_what_calibration_could_not_tell_is_not_drawn():
    exact = band(spread())
    machine = calibrated_host()
    assert machine.cpu is not None
    unknown = quantity(machine.cpu.turnaround_s.value, 100.0)
    cpu = replace(machine.cpu, turnaround_s=unknown)
    one = replace(case(RESIDENT), machine=replace(machine, cpu=cpu))
    assert band(one).width == pytest.approx(exact.width, rel=0.3)


def test_a_link_that_binds_both_ways_is_simulated_with_fewer_draws():
    model = preset("opt-1.3b")
    one = Case(model=model, machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe())
    found = band(one, draws=200)
    assert found.draws == 40
    assert found.fits_share == 1.0


def test_an_uncertain_size_makes_an_uncertain_verdict():
    machine = calibrated_host()
    needed = predict(case()).memory.device_bytes
    memory = replace(machine.device, memory_bytes=quantity(1.01 * needed, 1.2))
    share = band(replace(case(), machine=replace(machine, device=memory))).fits_share
    assert 0.3 < share < 0.8


def test_a_band_needs_draws():
    with pytest.raises(ValueError, match="draws must be >= 20; got 19"):
        band(case(), draws=19)
