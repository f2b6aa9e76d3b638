"""Devices that are parts of the host's cores: what computes at once shares them."""

from dataclasses import replace

import pytest

from tests.zo2sim.cost.test_cpu import case
from zo2sim.cost.cpu import crowding
from zo2sim.machines.file import dump, load
from zo2sim.machines.quantity import Quantity
from zo2sim.plan.choices import Plan
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.simulate.sharing import Pool, Shared, draws
from zo2sim.simulate.work import Resource


def on_two(ratio: float | None, launch_ratio: float | None, *, cores: float = 2.0) -> Case:
    """A ring of two groups of lanes on two devices, with what a calibration found of its cores."""
    one = case(microbatches=2)
    assert one.machine.cpu is not None
    known = [None if r is None else Quantity(r, "measured", "test") for r in (ratio, launch_ratio)]
    machine = replace(
        one.machine,
        cpu=replace(one.machine.cpu, crowded_ratio=known[0], crowded_launch_ratio=known[1]),
        host=replace(one.machine.host, num_cores=Quantity(cores, "measured", "test")),
    )
    plan = Plan(devices=2, lane_groups=2)
    return replace(one, machine=machine, plan=plan)


def test_what_is_there_each_time_waits_for_the_interpreter_and_the_rest_for_memory():
    found = on_two(1.2, 1.6)
    assert found.machine.cpu is not None
    second = found.machine.cpu.gemm_flops_per_s.value
    taken = {"cpu.gemm_flops_per_s": 3 * second, "cpu.gap_s": 1 / found.machine.cpu.gap_s.value}
    assert crowding(found.cost.setting, taken) == pytest.approx((0.75 * 1.2 + 0.25 * 1.6) / 2)
    assert crowding(on_two(3.0, 9.0).cost.setting, taken) == 1.0


def test_who_computes_alone_takes_as_long_as_ever():
    before, now = on_two(None, None), on_two(1.5, 1.5)
    for op in before.program.period.ops:
        old, new = before.cost(op), now.cost(op)
        assert new.alone_s(now.cost.rates) == pytest.approx(old.alone_s(before.cost.rates))


def test_cores_that_nobody_measured_and_one_device_share_nothing():
    assert on_two(None, None).cost.rates.sharing is None
    alone = replace(on_two(1.5, 1.5), plan=Plan())
    assert alone.cost.rates.sharing is None
    assert Resource.CORES not in alone.cost(alone.program.period.ops[1]).amounts


def test_two_that_compute_at_once_take_longer_the_more_they_slow_each_other():
    steps_s = [predict(on_two(ratio, ratio)).step_s for ratio in (1.0, 1.4, 2.0)]
    assert steps_s[0] == pytest.approx(predict(on_two(None, None)).step_s)
    assert steps_s[0] < steps_s[1] < steps_s[2]


def test_with_a_core_for_each_of_more_devices_nothing_changes():
    assert predict(on_two(1.0, 1.0, cores=8.0)).step_s == pytest.approx(
        predict(on_two(None, None)).step_s
    )


def test_where_cores_bind_the_bound_says_so():
    found = predict(on_two(2.0, 2.0))
    assert found.bound.limits_s["cores"] <= found.step_s
    assert found.bound.limits_s["cores"] == pytest.approx(
        sum(
            found.case.cost(op).amounts.get(Resource.CORES, 0.0)
            for op in found.case.program.period.ops
        )
    )


def test_only_what_computes_draws_cores():
    found = on_two(1.5, 1.5)
    cost = found.cost
    sharing = cost.rates.sharing
    assert sharing is not None
    drawing = {
        op.kind
        for op in found.program.period.ops
        if Pool(Shared.CORES) in draws(op, cost(op), sharing)
    }
    assert {kind.value for kind in drawing} == {"FORWARD", "UPDATE", "BUILD", "LOSS"}


def test_a_machine_file_keeps_it():
    machine = on_two(1.25, 1.5).machine
    assert load(dump(machine), where="again") == machine
