"""Policies as text: what each one issues, and in which order it may run."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from tests import GOLDEN
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.policies import Layout, Shape, build, flush
from zo2sim.schedule.ops import (
    HEAD,
    TAIL,
    Buffer,
    BufferSpace,
    Kind,
    Op,
    Program,
    Schedule,
    Stream,
)
from zo2sim.schedule.text import brief, dump, parse

CASES = {
    "resident": (Plan(policy=Policy.RESIDENT), Recipe()),
    "naive": (Plan(policy=Policy.NAIVE), Recipe()),
    "dual": (Plan(policy=Policy.DUAL), Recipe()),
    "zo2": (Plan(), Recipe()),
    "zo2_write_back_2": (Plan(write_back_every=2), Recipe()),
    "zo2_nvme": (Plan(tier="nvme"), Recipe()),
    "zo2_in_place": (Plan(), Recipe(perturbation="in_place")),
    "zo2_lora": (Plan(), Recipe(trainable="lora:8")),
    "zo2_resident_1": (Plan(resident_blocks=1), Recipe()),
    "zo2_fresh_slots": (Plan(reuse_slots=False), Recipe()),
    "zo2_reference_pageable": (
        Plan(policy=Policy.ZO2_REFERENCE, pinning="pageable"),
        Recipe(),
    ),
    "zo2_reference": (Plan(policy=Policy.ZO2_REFERENCE), Recipe()),
    "zo2_ring_2": (Plan(devices=2), Recipe()),
    "zo2_ring_2_groups_2": (Plan(devices=2, lane_groups=2), Recipe(microbatches=2)),
    "zo2_whole_2": (Plan(devices=2, placement="whole"), Recipe()),
    "zo2_sliced_2": (Plan(devices=2, placement="sliced"), Recipe()),
    "host_update": (Plan(policy=Policy.HOST_UPDATE), Recipe()),
    "host_update_fp8": (Plan(policy=Policy.HOST_UPDATE), Recipe(wire_dtype=Dtype.FP8)),
}


def program(plan: Plan, recipe: Recipe | None = None, *, blocks: int = 3) -> Program:
    return build(Shape(num_blocks=blocks), plan, recipe or Recipe())


@pytest.mark.parametrize("name", CASES)
def test_period_is_the_golden_one(name: str):
    """Regenerate a golden file by writing `dump(period)` into it, and read the difference."""
    period = program(*CASES[name]).period
    text = (GOLDEN / f"{name}.txt").read_text()
    assert dump(period) == text
    assert parse(text) == period


def test_zo2_prefetches_across_the_step_boundary():
    text = brief(program(Plan(num_slots=3)).period)
    assert text == (
        "Uhead | Fhead | H0<D0^,F0^ | U0<H0 | F0 | D0<U0 | H1<D1^,F1^ | U1<H1 | F1 | D1<U1 | "
        "H2<D2^,F2^ | U2<H2 | F2 | D2<U2 | Utail | Ftail | L<J^ | J<L"
    )


def test_scratch_lets_the_download_run_during_the_forward():
    assert "D0<U0" in brief(program(Plan()).period)


def test_in_place_downloads_after_the_forward():
    assert "D0<F0" in brief(program(Plan(), Recipe(perturbation="in_place")).period)


def test_naive_overlaps_nothing():
    ops = program(Plan(policy=Policy.NAIVE)).period.ops
    previous = [ops[-1], *ops[:-1]]
    for op, before in zip(ops, previous, strict=True):
        waits = {edge.removesuffix("^") for edge in op.after}
        assert before.name in waits or before.stream is op.stream


def test_naive_takes_three_trips_and_dual_two():
    def uploads(policy: Policy) -> int:
        return sum(o.kind is Kind.H2D for o in program(Plan(policy=policy)).period.ops)

    assert (uploads(Policy.NAIVE), uploads(Policy.DUAL), uploads(Policy.ZO2)) == (9, 6, 3)


def test_write_back_every_k_downloads_each_block_once_in_k_steps():
    ops = program(Plan(write_back_every=3)).period.ops
    downloads = [op.name for op in ops if op.kind is Kind.D2H]
    assert downloads == ["D0", "D2@1", "D1@2"]


def test_records_are_those_missed_since_the_last_write_back():
    ops = program(Plan(write_back_every=3)).period.ops
    updates = [op.records for op in ops if op.kind is Kind.UPDATE and op.unit == 0]
    assert updates == [3, 1, 2]


def test_the_first_period_finds_no_records_before_its_first_step():
    ops = program(Plan(write_back_every=3)).prologue.ops
    assert [op.records for op in ops if op.kind is Kind.UPDATE and op.unit == 0] == [0, 1, 2]


def test_resident_blocks_are_spread_and_never_copied():
    ops = program(Plan(resident_blocks=2), blocks=4).period.ops
    assert [op.unit for op in ops if op.kind is Kind.H2D] == [0, 2]


def test_resident_policy_copies_nothing():
    kinds = {op.kind for op in program(Plan(policy=Policy.RESIDENT)).period.ops}
    assert kinds == {Kind.UPDATE, Kind.FORWARD, Kind.LOSS, Kind.JOURNAL}


def test_lora_streams_frozen_blocks_read_only():
    ops = program(Plan(), Recipe(trainable="lora:4")).period.ops
    assert {op.unit for op in ops if op.kind is Kind.UPDATE} == {-1}
    assert not [op for op in ops if op.kind is Kind.D2H]


def test_host_update_downloads_nothing_and_updates_before_the_next_upload():
    text = brief(program(Plan(policy=Policy.HOST_UPDATE), blocks=2).period)
    assert text == (
        "Uhead | Fhead | C0 | H0<C0 | F0<H0 | C1 | H1<C1 | F1<H1 | Utail | Ftail | L | J<L"
    )


def test_a_narrow_wire_is_encoded_on_the_host_between_update_and_upload():
    recipe = Recipe(wire_dtype=Dtype.FP8)
    text = brief(program(Plan(policy=Policy.HOST_UPDATE), recipe, blocks=2).period)
    assert "C0 | E0 | H0<E0 | F0<H0 | C1 | E1 | H1<E1 | F1<H1" in text


def test_slots_in_use_never_exceed_the_plan():
    for slots in (1, 2, 5):
        ops = program(Plan(num_slots=slots)).period.ops
        assert {op.slot for op in ops if op.slot is not None} == set(range(min(slots, 3)))


def test_flush_brings_every_unit_up_to_date():
    text = brief(program(Plan(write_back_every=2)).flush)
    assert text.startswith("Uhead | H0 | U0<H0 | D0<U0 | H1 | U1<H1")


def test_flush_in_the_middle_of_a_period_knows_how_many_records_wait():
    layout = Layout(shape=Shape(num_blocks=3), plan=Plan(write_back_every=3), recipe=Recipe())
    assert [updates(flush(layout, done)) for done in (1, 2, 4)] == [
        [1, 1, 1, 1, 1],
        [1, 2, 2, 1, 1],
        [1, 1, 2, 3, 1],
    ]


@pytest.mark.parametrize(
    ("plan", "records"),
    [
        (Plan(), [[0] * 5]),
        (Plan(policy=Policy.DUAL), [[1] * 5]),
        (Plan(policy=Policy.RESIDENT), [[0] * 5]),
        (Plan(write_back_every=3), [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 2, 2, 1, 1]]),
    ],
    ids=str,
)
def test_a_first_step_finds_the_records_of_the_steps_before_it(
    plan: Plan, records: list[list[int]]
):
    first = program(plan).prologue.ops
    steps = [[op for op in first if op.step == step] for step in range(plan.write_back_every)]
    assert [[op.records for op in step if op.kind is Kind.UPDATE] for step in steps] == records


def test_a_shape_is_untied_and_has_a_loss_of_one_forward_unless_it_says_so():
    assert (Shape(num_blocks=1).tied, Shape(num_blocks=1).forwards) == (False, 1)
    for field in ("num_blocks", "forwards"):
        with pytest.raises(ValueError, match=rf"^{field} must be >= 1; got 0$"):
            Shape(**{"num_blocks": 1, field: 0})  # type: ignore[arg-type]


def updates(schedule: Schedule) -> list[int]:
    """Records that each of its updates applies."""
    return [op.records for op in schedule.ops if op.kind is Kind.UPDATE]


def test_dual_leaves_nothing_to_flush():
    assert program(Plan(policy=Policy.DUAL)).flush.ops == ()


def test_programs_are_equal_whose_schedules_are_also_those_that_are_made_when_asked_for():
    one, again, other = program(Plan()), program(Plan()), program(Plan(write_back_every=2))
    assert one == again
    assert hash(one) == hash(again)
    assert one != replace(one, flushing=other.flushing)
    assert one != replace(one, evaluating=lambda: one.period)


def test_evaluation_only_reads():
    ops = program(Plan()).evaluate.ops
    assert {op.kind for op in ops} == {Kind.H2D, Kind.FORWARD, Kind.LOSS}
    assert {op.lanes for op in ops if op.kind is Kind.FORWARD} == {"0"}


def test_the_reference_crosses_no_step_boundary():
    text = brief(program(Plan(policy=Policy.ZO2_REFERENCE)).period)
    assert "H0<L^" in text


def test_resident_blocks_are_evenly_spread_among_those_that_stream():
    plan = Plan(resident_blocks=3)
    layout = Layout(shape=Shape(num_blocks=5), plan=plan, recipe=Recipe())
    assert (layout.streamed, layout.resident) == ((0, 2), (1, 3, 4))
    assert tuple(filter(layout.is_streamed, layout.units)) == layout.streamed
    assert [layout.slot(block) for block in layout.streamed] == [0, 1]


def test_too_many_resident_blocks():
    with pytest.raises(
        ValueError, match=r"resident_blocks must be at most the model's 3 blocks; got 4"
    ):
        program(Plan(resident_blocks=4))


def _published(**changes: Any) -> Recipe:
    return Recipe(noise="torch", perturbation="in_place", reference="mezo", **changes)


@pytest.mark.parametrize(
    ("plan", "recipe", "reason"),
    [
        (Plan(write_back_every=2), Recipe(perturbation="in_place"), "replays records"),
        (Plan(write_back_every=2), Recipe(noise="torch"), "torch noise is sequential"),
        (Plan(write_back_every=2, policy=Policy.DUAL), Recipe(), "deferred update"),
        (Plan(), Recipe(wire_dtype=Dtype.FP8), "never brings the master"),
        (Plan(), Recipe(storage_dtype=Dtype.INT4), r"half a step; train adapters .*lora:R"),
        (Plan(), Recipe(storage_dtype=Dtype.INT8, wire_dtype=Dtype.FP32), "half a step"),
        (
            Plan(),
            Recipe(storage_dtype=Dtype.INT4, wire_dtype=Dtype.FP8, trainable="lora:2"),
            "travels as it is stored",
        ),
        (Plan(policy=Policy.HOST_UPDATE), Recipe(wire_dtype=Dtype.INT4), "encoded once"),
        (
            Plan(),
            Recipe(storage_dtype=Dtype.INT8, perturbation="in_place", trainable="lora:2"),
            "adapters and scales are perturbed in scratch",
        ),
        (Plan(), Recipe(trainable="scales"), "those of an integer format; set storage_dtype to"),
        (
            Plan(policy=Policy.ZO2_REFERENCE),
            Recipe(trainable="scales", storage_dtype=Dtype.INT4),
            "updates every weight of every block",
        ),
        (Plan(policy=Policy.HOST_UPDATE, tier="nvme"), Recipe(), "use tier=ram"),
        (Plan(policy=Policy.DUAL, overlap=False), Recipe(), "switch them off there"),
        (Plan(), Recipe(reference="mezo"), "use noise=torch and perturbation=in_place"),
        (Plan(), Recipe(reference="zo2", noise="torch"), "use noise=torch and perturbation=in_pla"),
        (Plan(), _published(samples=2), "one sample and one microbatch per step"),
        (Plan(), _published(microbatches=2), "use samples=1 and microbatches=1"),
        (Plan(write_back_every=2), _published(), "replays records"),
        (Plan(policy=Policy.HOST_UPDATE), _published(), "updates a pristine host copy"),
    ],
)
def test_refused_combinations_say_why(plan: Plan, recipe: Recipe, reason: str):
    with pytest.raises(ValueError, match=reason):
        program(plan, recipe)


def test_frozen_blocks_in_an_integer_format_have_the_schedule_of_lora():
    """Only scratch tells them apart: a lane reads the decoded weights there, unperturbed too."""
    plain, four_bits = (
        Recipe(trainable="lora:4"),
        Recipe(trainable="lora:4", storage_dtype=Dtype.INT4),
    )
    assert brief(program(Plan(), four_bits).period) == brief(program(Plan(), plain).period)
    scratch = {
        op.unit: [b for b in op.writes if b.space is BufferSpace.SCRATCH]
        for op in program(Plan(), four_bits).evaluate.ops
        if op.kind is Kind.FORWARD
    }
    assert {unit: len(buffers) for unit, buffers in scratch.items()} == {
        HEAD: 0,
        0: 1,
        1: 1,
        2: 1,
        TAIL: 0,
    }


def test_in_place_only_a_matrix_that_the_tail_reads_again_needs_scratch():
    """Its values for W+ are gone when the head is done; without a sign there are none."""

    def scratch(unit: int, lanes: str = "+-", *, tied: bool = True) -> tuple[Buffer, ...]:
        shape, recipe = Shape(num_blocks=2, tied=tied), Recipe(perturbation="in_place")
        return Layout(shape=shape, plan=Plan(), recipe=recipe).scratch(unit, lanes, 3)

    assert scratch(HEAD) == (Buffer(BufferSpace.SCRATCH, 0, 3),)
    assert [scratch(unit) for unit in (0, 1, TAIL)] == [()] * 3
    assert scratch(HEAD, "0") == scratch(HEAD, tied=False) == ()


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("placement", ["ring", "whole", "sliced"])
def test_after_the_first_period_flushes_repeat(
    every: int, placement: Literal["ring", "whole", "sliced"]
):
    """What proofs rely on, which build each of them once."""
    plan = Plan(write_back_every=every, devices=2, placement=placement)
    layout = Layout(shape=Shape(num_blocks=5), plan=plan, recipe=Recipe())
    for done in range(every, 3 * every):
        assert flush(layout, done) == flush(layout, done + every)


def test_lanes_are_numbered_by_sample_then_sign_then_microbatch():
    recipe = Recipe(samples=2, microbatches=3)
    layout = Layout(shape=Shape(num_blocks=2), plan=Plan(), recipe=recipe)

    def lanes(signs: str) -> tuple[int, ...]:
        op = Op(kind=Kind.FORWARD, stream=Stream.COMPUTE, unit=0, lanes=signs)
        return layout.lanes(op)

    assert lanes("+-") == tuple(range(12))
    assert (lanes("+"), lanes("-")) == ((0, 1, 2, 6, 7, 8), (3, 4, 5, 9, 10, 11))
    assert lanes("0") == (0, 1, 2)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_published_code_writes_every_block_back(blocks: int):
    program = build(Shape(num_blocks=blocks), Plan(policy=Policy.ZO2_REFERENCE), Recipe())
    for part in (program.prologue, program.period):
        assert [op.unit for op in part.ops if op.kind is Kind.D2H] == [*range(blocks)]


@pytest.mark.parametrize(("copies", "lanes"), [(1, ["+", "-"]), (2, ["+-"])])
def test_what_is_built_ahead_is_as_much_as_has_room(copies: int, lanes: list[str]):
    plan = Plan(devices=2, lane_groups=2, scratch_copies=copies)
    program = build(Shape(num_blocks=2), plan, Recipe(microbatches=2))
    built = [op for op in program.period.ops if op.kind is Kind.BUILD and op.unit == 0]
    assert [op.lanes for op in built] == lanes
