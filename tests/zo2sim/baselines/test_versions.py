"""Which weights and gradients a first-order schedule sees: right as generated, wrong when cut."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given

from tests.strategies import shapes, trainings
from zo2sim.baselines import Method, Training, build, check_training
from zo2sim.policies import Shape
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, Schedule


def changed(program: Program, change: Callable[[Op], Op | None]) -> Program:
    """The program with operations changed, or left out where the change gives None."""

    def of(schedule: Schedule) -> Schedule:
        ops = [new for op in schedule.ops if (new := change(op)) is not None]
        kept = {op.name for op in ops}
        ops = [replace(o, after=tuple(e for e in o.after if e.strip("^") in kept)) for o in ops]
        return replace(schedule, ops=tuple(ops))

    return replace(program, prologue=of(program.prologue), period=of(program.period))


def program(
    method: Method, *, blocks: int = 2, microbatches: int = 1, tied: bool = False
) -> Program:
    training = Training(method=method, microbatches=microbatches)
    return build(Shape(num_blocks=blocks, tied=tied), training)


def without(method: Method, name: str, *, blocks: int = 2, microbatches: int = 1) -> list[str]:
    """What is reported when one operation is left out."""
    whole = program(method, blocks=blocks, microbatches=microbatches)
    assert name in whole.period.index
    return [str(h) for h in check_training(changed(whole, lambda o: None if o.name == name else o))]


@given(shapes(), trainings())
def test_every_baseline_sees_what_it_should(shape: Shape, training: Training):
    assert check_training(build(shape, training)) == ()


def test_weights_that_are_not_sent_back_are_stale():
    assert without(Method.ZERO_OFFLOAD, "H1.2")[0] == (
        "stale hazard on resident:1: F1 (compute, step 1) needs unit 1 after 1 optimizer steps, "
        "but finds unit 1 after 0 optimizer steps"
    )


def test_states_that_are_not_written_back_are_stale():
    found = without(Method.FUYOU, "N0.1")
    assert "F0 (compute, step 1) needs unit 0 after 1 optimizer steps" in found[0]


def test_a_step_without_its_gradient_is_reported():
    assert without(Method.ZERO_OFFLOAD, "G0.1") == [
        "stale hazard on host_gradient:0: P0.2 (host, step 0) takes a gradient of 0 backward "
        "passes in this step; it must sum 1"
    ]


def test_a_microbatch_that_is_not_summed_is_reported():
    found = without(Method.ZERO_OFFLOAD, "G1.3", microbatches=2)
    assert (
        "P1.4 (host, step 0) takes a gradient of 1 backward passes in this step; it must sum 2"
        in (found[0])
    )


def test_a_backward_pass_that_overwrites_the_sum_is_reported():
    def overwrite(op: Op) -> Op:
        reads = tuple(b for b in op.reads if b.space is not BufferSpace.GRADIENT)
        return replace(op, reads=reads) if op.kind is Kind.BACKWARD else op

    found = check_training(changed(program(Method.ADAMW, microbatches=2), overwrite))
    assert "takes a gradient of 1 backward passes in this step; it must sum 2" in str(found[0])


def test_a_tied_head_without_the_tails_part_is_reported():
    def overwrite(op: Op) -> Op:
        reads = tuple(b for b in op.reads if b.space is not BufferSpace.GRADIENT)
        return replace(op, reads=reads) if op.name == "Bhead.1" else op

    found = check_training(changed(program(Method.ADAMW, tied=True), overwrite))
    assert "Ohead.2 (compute, step 0) takes a gradient of 1 backward passes" in str(found[0])


def test_a_checkpoint_that_does_not_come_back_is_reported():
    """The third block's has taken its place in the ring."""
    assert without(Method.ZERO_INFINITY, "T0.1", blocks=3) == [
        "stale hazard on checkpoint:0: B0.1 (compute, step 0) does not start from its own "
        "forward pass"
    ]


def test_a_checkpoint_of_another_microbatch_is_reported():
    found = without(Method.FUYOU, "S0.2", microbatches=2)
    assert "B0.3 (compute, step 0) does not start from its own forward pass" in found[0]


def test_a_block_in_the_wrong_slot_is_reported():
    def misplace(op: Op) -> Op:
        reads = tuple(
            Buffer(BufferSpace.SLOT, 0) if b.space is BufferSpace.SLOT else b for b in op.reads
        )
        return replace(op, reads=reads) if op.name == "F1" else op

    found = check_training(changed(program(Method.FUYOU), misplace))
    assert str(found[0]).startswith("stale hazard on slot:0: F1 (compute, step 0) needs unit 1")


@pytest.mark.parametrize("method", [Method.ADAMW, Method.ZERO_OFFLOAD])
def test_a_step_taken_twice_is_reported(method: Method):
    whole = program(method)
    period = whole.period
    step = next(o for o in period.ops if o.kind in (Kind.OPTIMIZE, Kind.HOST_OPTIMIZE))
    twice = replace(period, ops=(*period.ops, replace(step, trip=9, after=())))
    found = check_training(replace(whole, period=twice, prologue=twice))
    assert any("must start from" in str(hazard) for hazard in found)
