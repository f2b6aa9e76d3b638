"""Devices that are parts of the host's cores: what computes at once shares them."""

from dataclasses import replace

import pytest

from tests.zo2sim.cost.test_cpu import case
from zo2sim.cost.cpu import gap
from zo2sim.cost.crowded import crowding
from zo2sim.cost.parts import parts_s
from zo2sim.machines.file import dump, load
from zo2sim.machines.quantity import Quantity
from zo2sim.plan.choices import Plan
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import Kind
from zo2sim.simulate.sharing import Pool, Shared, draws
from zo2sim.simulate.work import Resource


def on_two(
    ratio: float | None,
    launch_ratio: float | None,
    *,
    cores: float = 2.0,
    plan: Plan | None = None,
) -> Case:
    """Two devices, by default a ring of two groups of lanes, with what a calibration found of its
    cores."""
    one = case(microbatches=2)
    assert one.machine.cpu is not None
    known = [None if r is None else Quantity(r, "fitted", "test") for r in (ratio, launch_ratio)]
    machine = replace(
        one.machine,
        cpu=replace(
            one.machine.cpu,
            crowded_ratio=known[0],
            crowded_launch_ratio=known[1],
        ),
        host=replace(one.machine.host, num_cores=Quantity(cores, "measured", "test")),
    )
    return replace(one, machine=machine, plan=plan or Plan(devices=2, lane_groups=2))


WHOLE = Plan(devices=2, placement="whole")


def test_what_is_there_each_time_waits_for_the_interpreter_and_the_rest_for_memory():
    found = on_two(1.2, 1.6)
    assert found.machine.cpu is not None
    second = found.machine.cpu.gemm_flops_per_s.value
    taken = {"cpu.gemm_flops_per_s": 3 * second, "cpu.gap_s": 1 / found.machine.cpu.gap_s.value}
    assert crowding(found.cost.setting, taken) == pytest.approx((0.75 * 1.2 + 0.25 * 1.6) / 2)
    assert crowding(on_two(3.0, 9.0).cost.setting, taken) == pytest.approx(4.5 / 2)


def test_nothing_is_asked_where_nobody_measured_it():
    with pytest.raises(ValueError, match="must say how crowded cores slow each other"):
        crowding(on_two(None, None).cost.setting, {})


@pytest.mark.parametrize("plan", [Plan(devices=2, lane_groups=2), WHOLE])
def test_parts_of_what_cores_share_make_the_whole(plan: Plan):
    cost = on_two(1.2, 1.6, plan=plan).cost
    for op in on_two(1.2, 1.6, plan=plan).program.period.ops:
        assert sum(parts_s(cost, op).values()) == pytest.approx(float(cost(op).alone_s(cost.rates)))


def test_forwards_of_one_unit_take_turns_and_build_their_weights_before():
    found = predict(on_two(1.0, 1.0, cores=8.0, plan=WHOLE))
    spans = {s.op.name: s for s in found.trace.spans if s.step == 1}
    first, last = sorted((spans["F0"], spans["F0%1/1"]), key=lambda span: span.end_s)
    work = found.case.cost(first.op)
    assert work.in_turn is not None
    turn_s, built_s = (float(w.flow_s(found.case.cost.rates)) for w in (work.in_turn, work))
    assert first.duration_s == pytest.approx(built_s + turn_s)
    assert last.end_s - max(first.end_s, last.start_s + built_s) == pytest.approx(turn_s)
    ring = on_two(1.0, 1.0)
    assert all(ring.cost(op).in_turn is None for op in ring.program.period.ops)


def test_after_the_loss_every_device_waits_for_the_next_step():
    found = predict(on_two(1.0, 1.0, plan=WHOLE))
    spans = {(s.step, s.op.name): s for s in found.trace.spans}
    loss = spans[1, "L"]
    gap_s = float(found.case.cost(loss.op).gap_s)
    for name in ("Uhead", "Uhead%1"):
        assert spans[2, name].start_s == pytest.approx(loss.end_s + gap_s)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    "plan",
    [
        Plan(),
        Plan(write_back_every=2),
        WHOLE,
        Plan(devices=3, placement="whole", write_back_every=2),
        Plan(devices=2, placement="sliced"),
        Plan(devices=2, lane_groups=2),
        Plan(devices=3, scratch_copies=2),
    ],
)
def test_the_host_enqueues_as_many_operations_as_the_program_has(plan: Plan, samples: int):
    asked = replace(
        on_two(1.0, 1.0, plan=plan), recipe=case(microbatches=3, samples=samples).recipe
    )
    counted = gap(asked.cost.setting, Kind.LOSS)["cpu.turnaround_operation_s"]
    period = asked.program.period
    own = [op for op in period.ops if op.kind not in (Kind.LOSS, Kind.JOURNAL)]
    assert counted == pytest.approx(len(own) / period.steps)


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
    ratios = (1.0, 1.4, 2.0)
    steps_s = [predict(on_two(ratio, ratio)).step_s for ratio in ratios]
    assert predict(on_two(None, None)).step_s < steps_s[0] < steps_s[1] < steps_s[2]


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


def test_only_what_computes_or_runs_python_draws_cores():
    found = on_two(1.5, 1.5)
    cost = found.cost
    sharing = cost.rates.sharing
    assert sharing is not None
    drawing = {
        op.kind
        for op in found.program.period.ops
        if Pool(Shared.CORES) in draws(op, cost(op), sharing)
    }
    assert {kind.value for kind in drawing} == {"FORWARD", "UPDATE", "BUILD", "LOSS", "SEND"}


def test_a_machine_file_keeps_it():
    machine = on_two(1.25, 1.5).machine
    assert load(dump(machine), where="again") == machine
