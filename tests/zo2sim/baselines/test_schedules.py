"""First-order baselines as text: what each one issues, in which order it may run, and no races."""

from dataclasses import replace

import pytest
from hypothesis import given

from tests import GOLDEN
from tests.strategies import shapes, trainings
from zo2sim.baselines import HOMES, Method, Training, build
from zo2sim.policies import Shape
from zo2sim.schedule.ops import FIRST_ORDER, Kind, Op, Program
from zo2sim.schedule.text import brief, dump, parse
from zo2sim.schedule.verify import verify

TIED, UNTIED = Shape(num_blocks=2, tied=True), Shape(num_blocks=2)
CASES = {
    "adamw": (TIED, Training(method=Method.ADAMW)),
    "zero_offload": (TIED, Training(method=Method.ZERO_OFFLOAD)),
    "zero_offload_microbatches_2": (UNTIED, Training(method=Method.ZERO_OFFLOAD, microbatches=2)),
    "zero_infinity": (TIED, Training(method=Method.ZERO_INFINITY)),
    "fuyou": (TIED, Training(method=Method.FUYOU)),
    "roundpipe": (TIED, Training(method=Method.ROUNDPIPE)),
}


def period(method: Method, *, blocks: int = 2, microbatches: int = 1) -> tuple[Op, ...]:
    training = Training(method=method, microbatches=microbatches)
    return build(Shape(num_blocks=blocks), training).period.ops


def names(ops: tuple[Op, ...], *kinds: Kind) -> list[str]:
    return [op.name for op in ops if op.kind in kinds]


@pytest.mark.parametrize("name", CASES)
def test_period_is_the_golden_one(name: str):
    """Regenerate a golden file by writing `dump(period)` into it, and read the difference."""
    steady = build(*CASES[name]).period
    text = (GOLDEN / f"{name}.txt").read_text()
    assert dump(steady) == text
    assert parse(text) == steady


def test_adamw_computes_forward_backward_and_step_in_one_stream():
    text = brief(build(UNTIED, Training(method=Method.ADAMW)).period)
    assert text == (
        "Fhead | F0 | F1 | Ftail | L | Btail.1 | B1.1 | B0.1 | Bhead.1 | "
        "Ohead.2 | O0.2 | O1.2 | Otail.2"
    )


def test_zero_offload_downloads_gradients_behind_the_backward_pass_and_steps_after_it():
    text = brief(build(UNTIED, Training(method=Method.ZERO_OFFLOAD)).period)
    assert text == (
        "Fhead<Htail.2^ | F0 | F1 | Ftail | L | Btail.1 | Gtail.1<Btail.1 | B1.1 | G1.1<B1.1 | "
        "B0.1 | G0.1<B0.1 | Bhead.1 | Ghead.1<Bhead.1 | "
        "Phead.2<Ghead.1 | Hhead.2<Phead.2 | P0.2 | H0.2<P0.2 | P1.2 | H1.2<P1.2 | "
        "Ptail.2 | Htail.2<Ptail.2"
    )


def test_zero_infinity_neither_reads_nor_writes_optimizer_states_ahead():
    ops = {op.name: op for op in period(Method.ZERO_INFINITY)}
    assert ops["M1.2"].after == ("N0.2",)


def test_fuyou_steps_each_unit_as_soon_as_its_gradient_is_there():
    order = names(period(Method.FUYOU), Kind.BACKWARD, Kind.HOST_OPTIMIZE)
    assert order == [
        *("Btail.1", "Ptail.1", "B1.1", "P1.1", "B0.1", "P0.1"),
        *("Bhead.1", "Phead.1"),
    ]


def test_fuyou_needs_no_other_gradient_for_a_step():
    ops = {op.name: op for op in period(Method.FUYOU)}
    assert set(ops["P1.1"].after) == {"M1.1", "G1.1"}


@pytest.mark.parametrize("method", [Method.ZERO_INFINITY, Method.FUYOU, Method.ROUNDPIPE])
def test_streamed_blocks_come_once_for_each_direction(method: Method):
    uploads = names(period(method), Kind.H2D)
    assert [n for n in uploads if n[1].isdecimal()] == ["H0", "H1", "H1.1", "H0.1"]


def test_checkpoints_that_leave_come_back_before_the_backward_pass():
    assert "T1.1<S1 | B1.1<T1.1" in brief(build(UNTIED, CASES["zero_infinity"][1]).period)


def test_microbatches_share_one_optimizer_step():
    ops = period(Method.ADAMW, microbatches=3)
    assert names(ops, Kind.LOSS) == ["L"]
    assert len(names(ops, Kind.BACKWARD)) == 3 * 4
    assert len(names(ops, Kind.OPTIMIZE)) == 4


def test_evaluation_only_reads():
    program = build(UNTIED, Training(method=Method.FUYOU))
    assert {op.kind for op in program.evaluate.ops} == {
        *(Kind.READ, Kind.H2D, Kind.FORWARD, Kind.LOSS),
    }
    assert program.flush.ops == ()


@given(shapes(), trainings())
def test_no_baseline_has_a_race(shape: Shape, training: Training):
    program = build(shape, training)
    assert verify(program, num_slots=max(1, training.num_slots)) == ()


@pytest.mark.parametrize("name", CASES)
def test_every_edge_is_needed(name: str):
    """Without it some pair races; the waits for all gradients and for the whole step are rules."""
    shape, training = CASES[name]
    program = build(shape, training)
    for op in program.period.ops:
        for edge in op.after:
            clips = op.kind is Kind.HOST_OPTIMIZE and edge.startswith("G")
            blocks = name != "fuyou" and op.name == "Fhead"
            if not (clips or blocks):
                assert verify(_without(program, op, edge)), f"{op.name} needs no {edge}"


@pytest.mark.parametrize("method", [Method.ZERO_OFFLOAD, Method.ZERO_INFINITY])
def test_the_next_step_begins_when_the_whole_step_has_ended(method: Method):
    ops = {op.name: op for op in period(method, blocks=3)}
    last = {edge.removesuffix("^") for edge in ops["Fhead"].after}
    ends = {op.stream: op.name for op in ops.values()}
    assert last <= set(ends.values())
    assert "Htail.2" in last


def test_fuyous_next_step_waits_for_its_first_weights_alone():
    ops = {op.name: op for op in period(Method.FUYOU)}
    assert ops["Fhead"].after == ("Hhead.1^",)


def _without(program: Program, cut: Op, edge: str) -> Program:
    def of(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        kept = tuple(e for e in cut.after if e != edge)
        first = tuple(e for e in kept if e[-1] != "^")
        return tuple(
            replace(o, after=kept if o == cut else first) if o.name == cut.name else o for o in ops
        )

    return replace(
        program,
        period=replace(program.period, ops=of(program.period.ops)),
        prologue=replace(program.prologue, ops=of(program.prologue.ops)),
    )


def test_first_order_kinds_occur_in_baselines_only():
    used = {op.kind for name in CASES for op in build(*CASES[name]).period.ops}
    assert set(FIRST_ORDER) <= used


def test_every_method_says_where_it_keeps_what():
    assert set(HOMES) == set(Method)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": 0}, r"batch must be a whole number >= 1; got 0"),
        ({"num_slots": True}, r"num_slots must be a whole number >= 1; got True"),
        ({"dtype": "fp8"}, r"dtype must be one of fp16, bf16; got 'fp8'"),
        ({"attention": "flash"}, r"attention must be one of fused, eager; got 'flash'"),
        ({"method": "sgd"}, r"method must be one of adamw, .*; got 'sgd'"),
        (
            {"method": "zero_infinity", "microbatches": 2},
            r"gradients on NVMe are not summed over microbatches here; .* got 2",
        ),
        (
            {"method": "fuyou", "checkpointing": False},
            r"the host keeps the inputs of blocks, not all activations; use checkpointing",
        ),
    ],
)
def test_what_cannot_be_trained_so_is_refused(fields: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Training(**fields)  # pyright: ignore[reportArgumentType]
