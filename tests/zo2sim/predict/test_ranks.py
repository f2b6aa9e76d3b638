"""A step of many workers: what it is made of, and where a direction for each of them ends."""

from dataclasses import replace
from math import log, sqrt

import pytest

from zo2sim.machines.file import named
from zo2sim.machines.what_if import replace as changed
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.plan.policy import Policy
from zo2sim.predict.case import Case, asked
from zo2sim.predict.predict import predict
from zo2sim.predict.ranks import INTERNET, LAN, Network, message_bytes, rank_steps, wall

CASE = asked(
    preset("opt-1.3b"), named("a100-sxm-80gb"), Plan(policy=Policy.RESIDENT), Recipe(sequence=1024)
)
NEAR = Network(name="near", round_trip_s=1.0, worker_bytes_per_s=24.0, relay_bytes_per_s=240.0)


def test_a_worker_alone_is_the_prediction():
    for directions in ("one", "own"):
        (step,) = rank_steps(CASE, (1,), network=INTERNET, directions=directions, spread=0.1)
        assert step.step_s == step.alone_s == predict(CASE).step_s
        assert step.efficiency == 1.0


def test_one_direction_waits_for_the_slowest_and_for_the_losses():
    (step,) = rank_steps(CASE, (64,), network=INTERNET, directions="one", spread=0.05)
    assert step.replay_s == 0.0
    assert step.straggle_s == pytest.approx(step.alone_s * 0.05 * sqrt(2 * log(64)))
    assert step.exchange_s == INTERNET.exchange_s(64, 2)
    assert step.step_s == step.alone_s + step.straggle_s + step.exchange_s


def test_losses_go_up_and_those_of_all_come_down():
    """Four workers of 24 bytes: 96 come down to each, in 4 s, and four times that leave the relay
    in 1.6 s."""
    assert message_bytes(2) == 24
    assert NEAR.exchange_s(4, 2) == pytest.approx(1.0 + 1.6 + 4.0)
    assert NEAR.exchange_s(1, 2) == 0.0


def test_relays_above_each_other_are_faster_for_many():
    """Ten thousand: one relay would send 2.4 GB; each of a hundred sends a hundredth of it."""
    one_s = INTERNET.round_trip_s + 10_000**2 * 24 / INTERNET.relay_bytes_per_s
    assert INTERNET.exchange_s(10_000, 2) < one_s / 10
    assert LAN.exchange_s(1000, 2) < 0.01


def test_own_directions_make_every_update_take_longer():
    steps = rank_steps(CASE, (1, 100, 200), network=LAN, directions="own", spread=0.0)
    one, many, twice = (step.replay_s for step in steps)
    assert one == 0.0
    assert (twice - many) / 100 == pytest.approx(CASE.model.elements / 1e11, rel=1e-3)


def at(case: Case, tokens: int) -> Case:
    return replace(case, recipe=replace(case.recipe, sequence=tokens))


def test_the_wall_is_four_t_r_over_f():
    """Twice the tokens or noise twice as fast: twice the workers."""
    near = wall(at(CASE, 1024))
    assert wall(at(CASE, 2048)) == pytest.approx(2 * near, rel=0.2)
    faster = changed(CASE.machine, "device.gaussian_noise_elements_per_s", 2e11)
    assert 1.5 < wall(replace(CASE, machine=faster)) / near <= 2.0  # W+ and W- take less, too


def test_two_draws_of_the_forwards_themselves_come_on_top_of_it():
    """W+ and W- are drawn, too: as two directions."""
    large = replace(CASE, model=preset("opt-13b"))
    device = large.machine.device
    assert device.gemm_flops_per_s is not None
    assert device.sustained_ratio is not None
    products = device.gemm_flops_per_s.value * device.sustained_ratio.value
    assert wall(at(large, 2048)) - 2 == pytest.approx(4 * 2048 * 1e11 / products, rel=0.25)


def test_at_the_wall_replay_takes_as_long_as_the_forwards():
    count = round(wall(CASE))
    (step,) = rank_steps(CASE, (count,), network=LAN, directions="own", spread=0.0)
    assert 0.7 < step.replay_s / step.alone_s < 1.1


def test_numbers_that_are_none():
    with pytest.raises(ValueError, match="workers must be from 1 to 1000000; got 0"):
        rank_steps(CASE, (0,), network=LAN, directions="one", spread=0.0)
    with pytest.raises(ValueError, match=r"the spread .* must be from 0 to below 1; got 1"):
        rank_steps(CASE, (1,), network=LAN, directions="one", spread=1.0)
