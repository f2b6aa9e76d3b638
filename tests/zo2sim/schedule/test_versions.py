"""Versions: every operation sees the weights that its step asks for."""

from dataclasses import replace

from hypothesis import given, settings

from tests.strategies import choices
from tests.thorough import examples
from tests.zo2sim.schedule.handmade import program
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Layout, Shape, build, flush
from zo2sim.schedule.ops import Schedule
from zo2sim.schedule.unroll import unroll
from zo2sim.schedule.verify import check_versions, races

UPLOAD = "H0 h2d reads host:0 writes slot:0"
UPDATE = "U0 compute records=1 reads slot:0 record:0 writes slot:0"
FORWARD = "F0 compute reads slot:0"
OFFLOAD = "D0 d2h reads slot:0 writes host:0"
LOSS = "L compute writes record:0"
JOURNAL = "J host reads record:0 writes journal:0"


def seen(*period: str, flush: tuple[str, ...] = (), evaluate: tuple[str, ...] = ()) -> list[str]:
    """What is reported, in words; updates of the prologue apply nothing, as its first step must."""
    first = (line.replace("records=1 reads slot", "reads slot") for line in period)
    texts = ("\n".join(lines) for lines in (period, first, flush, evaluate))
    steady, prologue, last, read_only = texts
    whole = program(steady, prologue=prologue, flush=last, evaluate=read_only)
    return [str(hazard) for hazard in check_versions(whole)]


def test_one_record_per_step_is_right():
    assert seen(UPLOAD, UPDATE, FORWARD, OFFLOAD, LOSS) == []


def test_a_forward_without_its_update_is_stale():
    flush = (UPLOAD, UPDATE.replace("records=1", "records=3"))
    assert seen(UPLOAD, FORWARD, OFFLOAD, LOSS, flush=flush)[0] == (
        "stale hazard on slot:0: F0 (compute, step 1) reads unit 0 with 0 records, but needs 1; "
        "apply the missing 1 first"
    )


def test_an_update_ahead_of_its_loss_is_reported():
    assert seen(UPLOAD, UPDATE.replace("=1", "=2"), FORWARD, OFFLOAD, LOSS)[-1] == (
        "stale hazard on slot:0: U0 (compute, step 0) applies 2 records to unit 0 with 0 of 0; "
        "it must apply 0"
    )


def test_an_update_applied_twice_is_reported():
    assert seen(UPLOAD, UPDATE, UPDATE.replace("U0", "U0@1"), FORWARD, OFFLOAD, LOSS) == [
        "stale hazard on slot:0: U0@1 (compute, step 2) applies 1 record to unit 0 with 1 of 1; "
        "it must apply 0"
    ]


def test_weights_that_were_not_written_back_lack_a_record():
    assert seen(UPLOAD, UPDATE, FORWARD, LOSS) == [
        "stale hazard on slot:0: U0 (compute, step 2) applies 1 record to unit 0 with 0 of 2; "
        "it must apply 2"
    ]


def test_a_forgotten_flush_shows_in_evaluation():
    period, read_only = (UPLOAD, UPDATE, FORWARD, OFFLOAD, LOSS), (UPLOAD, FORWARD)
    assert seen(*period, evaluate=read_only) == [
        "stale hazard on slot:0: F0 (compute, step 4) reads unit 0 with 2 records, but needs 3; "
        "apply the missing 1 first"
    ]
    assert seen(*period, flush=(UPLOAD, UPDATE, OFFLOAD), evaluate=read_only) == []


def test_a_loss_that_leaves_no_record_asks_for_no_update():
    period, read_only = (UPLOAD, UPDATE, FORWARD, OFFLOAD, LOSS), ("L compute", UPLOAD, FORWARD)
    assert seen(*period, flush=(UPLOAD, UPDATE, OFFLOAD), evaluate=read_only) == []


def test_a_record_must_be_in_a_buffer_that_the_update_reads():
    elsewhere = UPDATE.replace("record:0", "record:1")
    assert seen(UPLOAD, elsewhere, FORWARD, OFFLOAD, LOSS) == [
        "stale hazard on slot:0: U0 (compute, step 1) must apply the record of step 0, "
        "which no buffer it reads holds"
    ]


def test_the_slot_must_hold_the_unit():
    assert seen(UPLOAD, UPDATE, FORWARD.replace("F0", "F1"), LOSS)[0] == (
        "stale hazard on slot:0: F1 (compute, step 0) needs unit 1, but slot:0 holds unit 0; "
        "copy the unit there first"
    )


def test_a_fresh_allocation_holds_nothing():
    assert seen(UPLOAD, "A0 h2d writes slot:0", FORWARD) == [
        "stale hazard on slot:0: F0 (compute, step 0) needs unit 0, but slot:0 holds nothing; "
        "copy the unit there first"
    ]


def test_disk_waits_for_the_journal():
    arrive = ("R0 nvme_read reads nvme:0 writes stage_in:0", UPLOAD.replace("host", "stage_in"))
    leave = (OFFLOAD.replace("host", "stage_out"), "W0 nvme_write reads stage_out:0 writes nvme:0")
    period = (*arrive, UPDATE, FORWARD, *leave, LOSS)
    assert seen(*period, JOURNAL) == []
    assert seen(*period) == [
        "stale hazard on stage_out:0: W0 (nvme_write, step 1) stores 1 record, but the journal "
        "holds 0; wait for the JOURNAL of every record first"
    ]


def test_a_unit_that_is_never_updated_stays_at_version_0():
    assert seen(UPLOAD, FORWARD, LOSS) == []


def test_the_cpu_updates_the_host_copy_within_the_step():
    on_host = "C0 host records=1 reads host:0 record:0 writes host:0"
    assert seen(UPLOAD, FORWARD, LOSS, on_host) == []
    assert seen(UPLOAD, FORWARD, LOSS, on_host.replace("records=1 ", "")) == [
        "stale hazard on host:0: C0 (host, step 0) applies 0 records to unit 0 with 0 of 1; "
        "it must apply 1"
    ]


@given(choices(max_blocks=5))
@settings(max_examples=examples(200), deadline=None)
def test_every_plan_shows_every_operation_the_right_weights(choice: tuple[Shape, Plan, Recipe]):
    assert [str(hazard) for hazard in check_versions(build(*choice))] == []


@given(choices())
@settings(max_examples=examples(100), deadline=None)
def test_flush_is_right_before_every_step_of_a_period(choice: tuple[Shape, Plan, Recipe]):
    shape, plan, recipe = choice
    whole = build(*choice)
    layout = Layout(shape=shape, plan=plan, recipe=recipe)
    for step in range(1, plan.write_back_every):
        stopped = replace(whole, period=first_steps(whole.period, step), flush=flush(layout, step))
        assert [str(h) for h in check_versions(stopped, periods=2)] == []
        assert any(races(unroll(stopped.flush))) is False


def first_steps(period: Schedule, steps: int) -> Schedule:
    """A period that stops early; versions do not depend on edges."""
    ops = tuple(replace(op, after=()) for op in period.ops if op.step < steps)
    return replace(period, steps=steps, ops=ops)
