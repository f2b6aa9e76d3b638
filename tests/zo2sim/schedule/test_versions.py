"""Versions: every operation sees the weights that its step asks for."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import choices, shared
from tests.thorough import examples
from tests.zo2sim.schedule.handmade import program
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Layout, Shape, build, flush, task
from zo2sim.schedule.completeness import Task
from zo2sim.schedule.ops import HEAD
from zo2sim.schedule.unroll import unroll
from zo2sim.schedule.verify import races
from zo2sim.schedule.versions import check_versions

UPLOAD = "H0 h2d reads host:0 writes slot:0"
UPDATE = "U0 compute records=1 reads slot:0 record:0 writes slot:0"
FORWARD = "F0 compute reads slot:0"
OFFLOAD = "D0 d2h reads slot:0 writes host:0"
LOSS = "L compute writes record:0"
JOURNAL = "J host reads record:0 writes journal:0"


FLUSH = (UPLOAD, UPDATE, OFFLOAD)
TRAINED = Task(num_blocks=1, trained=frozenset({0}))


def seen(
    *period: str,
    flush: tuple[str, ...] = FLUSH,
    evaluate: tuple[str, ...] = (),
    asked: Task = TRAINED,
) -> list[str]:
    """What is reported, in words; a deferred update of the first step has nothing to apply."""
    deferred = re.compile(r"(U[^ .]+ compute )records=1 ")
    first = (deferred.sub(r"\1", line) for line in period)
    texts = ("\n".join(lines) for lines in (period, first, flush, evaluate))
    steady, prologue, last, read_only = texts
    whole = program(steady, prologue=prologue, flush=last, evaluate=read_only)
    return [str(hazard) for hazard in check_versions(whole, asked)]


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
    assert seen(*period, flush=(), evaluate=read_only) == [
        "stale hazard on host:0: handmade leaves unit 0 with 2 records there, but must leave "
        "unit 0 with 3 records; write back what has changed",
        "stale hazard on slot:0: F0 (compute, step 4) reads unit 0 with 2 records, but needs 3; "
        "apply the missing 1 first",
    ]
    assert seen(*period, evaluate=read_only) == []


def test_a_loss_that_leaves_no_record_asks_for_no_update():
    period, read_only = (UPLOAD, UPDATE, FORWARD, OFFLOAD, LOSS), ("L compute", UPLOAD, FORWARD)
    assert seen(*period, evaluate=read_only) == []


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
    assert seen(UPLOAD, "A0 h2d writes slot:0", FORWARD, flush=()) == [
        "stale hazard on slot:0: F0 (compute, step 0) needs unit 0, but slot:0 holds nothing; "
        "copy the unit there first"
    ]


def test_disk_waits_for_the_journal():
    arrive = ("R0 nvme_read reads nvme:0 writes stage_in:0", UPLOAD.replace("host", "stage_in"))
    leave = (OFFLOAD.replace("host", "stage_out"), "W0 nvme_write reads stage_out:0 writes nvme:0")
    period, last = (*arrive, UPDATE, FORWARD, *leave, LOSS), (*arrive, UPDATE, *leave)
    assert seen(*period, JOURNAL, flush=last) == []
    assert seen(*period, flush=last) == [
        "stale hazard on stage_out:0: W0 (nvme_write, step 1) stores 1 record, but the journal "
        "holds 0; wait for the JOURNAL of every record first"
    ]


def test_what_is_not_trained_stays_at_version_0_and_its_updates_do_nothing():
    frozen = Task(num_blocks=1, trained=frozenset())
    assert seen(UPLOAD, FORWARD, LOSS, flush=(), asked=frozen) == []
    assert seen(UPLOAD, UPDATE, FORWARD, LOSS, asked=frozen) == []


def test_a_trained_unit_that_no_operation_updates_is_stale():
    """Who is trained is the model's to say, and not the program's."""
    assert seen(UPLOAD, FORWARD, LOSS, flush=()) == [
        "stale hazard on slot:0: F0 (compute, step 1) reads unit 0 with 0 records, but needs 1; "
        "apply the missing 1 first",
        "stale hazard on host:0: handmade leaves unit 0 with 0 records there, but must leave "
        "unit 0 with 3 records; write back what has changed",
    ]


def test_a_flush_that_does_not_write_back_is_reported():
    assert seen(UPLOAD, UPDATE, FORWARD, OFFLOAD, LOSS, flush=(UPLOAD, UPDATE)) == [
        "stale hazard on host:0: handmade leaves unit 0 with 2 records there, but must leave "
        "unit 0 with 3 records; write back what has changed"
    ]


def test_an_update_of_another_unit_s_weights_is_reported():
    astray = "U1 compute records=1 reads resident:0 record:0 writes resident:0"
    stays = ("U0 compute records=1 reads resident:0 record:0 writes resident:0",)
    period = ("F0 compute reads resident:0", LOSS)
    assert seen(*stays, *period, flush=stays) == []
    assert seen(astray, *period, flush=stays)[0] == (
        "stale hazard on resident:0: U1 (compute, step 0) needs unit 1, but resident:0 holds "
        "unit 0; copy the unit there first"
    )


def test_what_a_tail_borrows_of_the_head_is_the_head_s():
    tail = "Ftail compute reads resident:tail resident:head"
    head = "Uhead compute records=1 reads resident:head record:0 writes resident:head"
    asked = Task(num_blocks=1, trained=frozenset({HEAD}), tied=True)
    assert seen(head, tail, LOSS, flush=(head,), asked=asked) == []
    assert seen(tail, LOSS, head, flush=(), asked=asked)[-1] == (
        "stale hazard on resident:head: Uhead (compute, step 0) applies 0 records to unit head "
        "with 0 of 1; it must apply 1"
    )


IN_PLACE = "F0 compute lanes=+- reads slot:0 writes slot:0"
SHIFTED = Task(num_blocks=1, trained=frozenset({0}), in_place=True)


def test_in_place_every_sign_leaves_other_weights_behind():
    period = (UPLOAD, UPDATE, IN_PLACE, OFFLOAD, LOSS)
    assert seen(*period, asked=SHIFTED) == []
    assert seen(UPLOAD, UPDATE, OFFLOAD, IN_PLACE, LOSS, asked=SHIFTED)[0] == (
        "stale hazard on slot:0: U0 (compute, step 1) reads unit 0 after 0 signs in place, but "
        "needs it after 2; keep what every sign has left"
    )


def test_in_place_a_forward_must_write_what_it_shifts():
    unshifted = IN_PLACE.replace(" writes slot:0", "")
    assert seen(UPLOAD, UPDATE, unshifted, OFFLOAD, LOSS, asked=SHIFTED)[0] == (
        "stale hazard on slot:0: U0 (compute, step 1) reads unit 0 after 0 signs in place, but "
        "needs it after 2; keep what every sign has left"
    )


def test_in_place_an_update_in_a_trip_of_its_own_starts_from_what_every_sign_has_left():
    again = (
        "H0.1 h2d reads host:0 writes slot:0",
        "U0.1 compute records=1 reads slot:0 record:0 writes slot:0",
        "D0.1 d2h reads slot:0 writes host:0",
    )
    assert seen(UPLOAD, IN_PLACE, OFFLOAD, LOSS, *again, flush=(), asked=SHIFTED) == []
    assert seen(UPLOAD, IN_PLACE, LOSS, *again, flush=(), asked=SHIFTED)[0] == (
        "stale hazard on slot:0: U0.1 (compute, step 0) reads unit 0 after 0 signs in place, but "
        "needs it after 2; keep what every sign has left"
    )


def test_unperturbed_lanes_shift_nothing():
    period = (UPLOAD, UPDATE, IN_PLACE.replace("+-", "0"), OFFLOAD, LOSS)
    assert seen(*period, asked=SHIFTED) == []


def test_the_cpu_updates_the_host_copy_within_the_step():
    on_host = "C0 host records=1 reads host:0 record:0 writes host:0"
    none = on_host.replace("records=1 ", "")
    assert seen(UPLOAD, FORWARD, LOSS, on_host, flush=()) == []
    assert seen(UPLOAD, FORWARD, LOSS, none, flush=()) == [
        "stale hazard on host:0: C0 (host, step 0) applies 0 records to unit 0 with 0 of 1; "
        "it must apply 1"
    ]


@given(choices(max_blocks=5) | shared(5))
@settings(max_examples=examples(200), deadline=None)
def test_every_plan_shows_every_operation_the_right_weights(choice: tuple[Shape, Plan, Recipe]):
    """Whenever it is stopped: flush and evaluation are right after every step."""
    layout = Layout(shape=choice[0], plan=choice[1], recipe=choice[2])
    hazards = check_versions(build(*choice), task(*choice), lambda done: flush(layout, done))
    assert [str(hazard) for hazard in hazards] == []


@given(choices() | shared(), st.integers(0, 6))
@settings(max_examples=examples(100), deadline=None)
def test_no_flush_races(choice: tuple[Shape, Plan, Recipe], done: int):
    layout = Layout(shape=choice[0], plan=choice[1], recipe=choice[2])
    assert not any(races(unroll(flush(layout, done))))
