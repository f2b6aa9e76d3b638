"""Blocks that move as one: predicted like larger blocks, executed with the bits of small ones."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.answer.advice import advise
from tests.families import BLOCKS, batch, build
from tests.strategies import SMALL_CONFIG, odd_machines, plans_of, small_models
from tests.zo2rt.engine.engine_runs import engine, recipe
from tests.zo2rt.lanes.lockstep import chain, lockstep, mean_square, one_by_one, tokens
from zo2rt.model.discovery import find_blocks
from zo2rt.model.units import Units, find_units
from zo2sim.cost import CostModel
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.memory.account import MemoryAccount, MemoryPlace
from zo2sim.memory.runtime import account
from zo2sim.models.config import from_config
from zo2sim.models.presets import preset
from zo2sim.models.shapes import Model, Unit, num_units
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Layout, Shape
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import HEAD, TAIL, Kind, Op, Stream

OPT = preset("opt-125m")
A100 = named("a100-pcie-80gb")
WORKSPACE = "workspace of one lane"


def glued(model: Model, size: int) -> Model:
    """The same written out: every block a plain concatenation, nothing counted together."""
    rows = [model.blocks[i : i + size] for i in range(0, model.num_blocks, size)]
    blocks = tuple(
        Unit(
            parameters=sum((b.parameters for b in row), ()),
            gemms=sum((b.gemms for b in row), ()),
            attentions=sum((b.attentions for b in row), ()),
            elementwise=sum(b.elementwise for b in row),
            cast_elements=sum(b.cast_elements for b in row),
            kernels=sum(b.kernels for b in row),
            cast_kernels=sum(b.cast_kernels for b in row),
            linear_shapes=sum((b.linear_shapes for b in row), ()),
            num_blocks=len(row),
        )
        for row in rows
    )
    return replace(model, name=f"{model.name} glued by {size}", blocks=blocks)


# Prediction


@settings(deadline=None, max_examples=40)
@given(model=small_models(), machine=odd_machines(), data=st.data())
def test_a_unit_is_predicted_like_a_block_as_large(model: Model, machine, data: st.DataObject):
    plan = data.draw(plans_of(model))
    how = Recipe(
        sequence=64,
        trainable=data.draw(st.sampled_from(("all", "lora:4"))),
        wire_dtype=data.draw(st.sampled_from((Dtype.FP16, Dtype.FP8))),
    )
    assume(refusal(plan, how) is None and (plan.tier == "ram" or machine.nvme is not None))
    assume(plan.policy is not Policy.ZO2_REFERENCE)
    here = predict(Case(model=model, machine=machine, plan=plan, recipe=how))
    large = glued(model, plan.blocks_per_unit)
    one = replace(plan, blocks_per_unit=1)
    there = predict(Case(model=large, machine=machine, plan=one, recipe=how))
    assert here.case.program == there.case.program
    assert here.step_s == pytest.approx(there.step_s, rel=1e-9)
    assert here.bound.step_s == pytest.approx(there.bound.step_s, rel=1e-9)
    assert items(here.memory) == items(there.memory)


def items(memory: MemoryAccount) -> list[tuple[str, str, int]]:
    """But for what a lane needs inside a block, and the slack of segments that follows from it."""
    skipped = (WORKSPACE, "reserved by the allocator, not in use")
    return [(i.place, i.name, i.num_bytes) for i in memory.items if i.name not in skipped]


def test_a_lane_needs_the_workspace_of_one_block_however_many_move_as_one():
    model, how = from_config(SMALL_CONFIG, name="small"), Recipe(sequence=64)
    for size in (1, 2, 3):
        found = account(model, Plan(blocks_per_unit=size), how).itemised(MemoryPlace.DEVICE)
        assert found[WORKSPACE] == 64 * (3 * 1024 + 2 * 4096) * 2


def work_of(kind: Kind, stream: Stream, size: int, *, lanes: str = ""):
    cost = CostModel.of(OPT, A100, Plan(blocks_per_unit=size), Recipe(sequence=1))
    return cost(Op(kind=kind, stream=stream, unit=0, lanes=lanes, records=1)), cost.rates


@pytest.mark.parametrize("kind", [Kind.H2D, Kind.D2H])
def test_a_copy_of_more_blocks_has_one_latency(kind: Kind):
    (one, _), (three, _) = (work_of(kind, Stream.H2D, size) for size in (1, 3))
    assert three.fixed_s == one.fixed_s > 0.0
    assert {r: 3 * amount for r, amount in one.amounts.items()} == three.amounts


def test_a_lane_hands_over_once_per_unit():
    """At one token the launches bind: twice as many for two blocks, and one hand-over less."""
    (one, rates), (two, _) = (work_of(Kind.FORWARD, Stream.COMPUTE, s, lanes="0") for s in (1, 2))
    handover_s = A100.host.stream_handover_s.value
    assert handover_s > 0.0
    assert two.alone_s(rates) == pytest.approx(2 * one.alone_s(rates) - handover_s)


def test_equal_products_count_together_and_windows_stay_apart():
    config = build("gemma2").config.to_dict()  # type: ignore[operator]
    model = from_config(config, name="gemma2")
    first, last = model.in_units_of(2).blocks
    assert [a.window for a in first.attentions] == [4, None]
    assert [a.window for a in last.attentions] == [4]
    counts = {(g.n, g.k): g.count for g in first.gemms}
    assert sum(counts.values()) == 2 * sum(g.count for g in model.blocks[0].gemms)
    assert len(counts) == len(first.gemms) < sum(counts.values())


# What is left over, and what is refused


def test_the_last_unit_has_what_is_left():
    units = OPT.in_units_of(5)
    block = OPT.blocks[0].elements
    assert [unit.elements for unit in units.blocks] == [5 * block, 5 * block, 2 * block]
    assert units.first_alike == (0, 0, 2)
    assert units.elements == OPT.elements
    assert Shape.of(OPT, Plan(blocks_per_unit=5)) == Shape(num_blocks=3, tied=True)
    assert OPT.in_units_of(1) is OPT


def test_resident_blocks_counts_units():
    plan = Plan(blocks_per_unit=4, resident_blocks=1)
    kept = next(i for i in account(OPT, plan, Recipe()).items if i.name == "resident blocks")
    assert kept.num_bytes == 4 * OPT.blocks[0].buffer_bytes(Dtype.FP16)
    with pytest.raises(ValueError, match="at most the model's 3 units of 4 blocks; got 4"):
        Layout(shape=Shape.of(OPT, plan), plan=replace(plan, resident_blocks=4), recipe=Recipe())


def test_a_unit_is_no_larger_than_the_model():
    assert [num_units(12, size) for size in (1, 5, 12)] == [12, 3, 1]
    message = "blocks_per_unit must be at least 1 and at most the model's 12 blocks; got 13"
    with pytest.raises(ValueError, match=message):
        _ = Case(model=OPT, machine=A100, plan=Plan(blocks_per_unit=13), recipe=Recipe()).program
    too_many = Plan(blocks_per_unit=BLOCKS + 1)
    with (
        pytest.raises(ValueError, match=f"at most the model's {BLOCKS} blocks; got {BLOCKS + 1}"),
        engine(build("opt"), too_many, recipe(), batch("opt")),
    ):
        pass


def test_the_published_code_moves_one_block_at_a_time():
    reason = refusal(Plan(policy=Policy.ZO2_REFERENCE, blocks_per_unit=2), Recipe())
    assert reason is not None
    assert "moves one block at a time; use blocks_per_unit=1" in reason


def test_larger_units_are_advised_where_they_gain_and_the_model_has_the_blocks():
    """At one token latency counts, and each larger size saves some of it."""
    how = Recipe(sequence=1)
    told = {
        size: [a.change for a in advise(predict(one), most=99) if "per-unit" in a.change]
        for size in (1, 7)
        for one in [Case(model=OPT, machine=A100, plan=Plan(blocks_per_unit=size), recipe=how)]
    }
    assert told == {1: ["--blocks-per-unit 2"], 7: []}


# Units of a real model


def units_of(model, size: int) -> Units:
    blocks = find_blocks(model, per_unit=size)
    return find_units(model, mean_square, tokens(), blocks=blocks)


def test_a_unit_owns_the_parameters_and_buffers_of_its_blocks():
    model = chain(3)
    model.steps[1].register_buffer("mask", model.norm.weight.detach())
    units = units_of(model, 2)
    weights = ["steps.0.linear.weight", "steps.0.linear.bias"]
    weights += ["steps.1.linear.weight", "steps.1.linear.bias"]
    assert [unit.number for unit in units.order] == [HEAD, 0, 1, TAIL]
    assert [p.name for p in units[0].parameters] == weights
    assert [p.name for p in units[1].parameters] == ["steps.2.linear.weight", "steps.2.linear.bias"]
    assert [[*unit.buffers] for unit in units.order] == [[], ["steps.1.mask"], [], []]


def test_what_only_blocks_of_one_unit_share_moves_with_it():
    model = chain(4)
    model.linear(1).weight = model.linear(0).weight
    model.linear(3).weight = model.linear(1).weight
    apart, together = units_of(model, 2), units_of(model, 4)
    assert [p.name for p in apart[HEAD].parameters] == ["embed.weight", "steps.0.linear.weight"]
    assert [len(unit.borrowed) for unit in apart.order] == [0, 1, 1, 0]
    assert [p.name for p in together[HEAD].parameters] == ["embed.weight"]
    assert [len(unit.borrowed) for unit in together.order] == [0, 0, 0]


@pytest.mark.parametrize("size", [2, 3])
def test_lanes_pause_between_units_with_the_bits_of_whole_forwards(size: int):
    model = chain(5)
    units = units_of(model, size)
    batches = [tokens(seed) for seed in range(3)]
    got = lockstep(model, units, mean_square, batches)
    assert got == one_by_one(model, units, mean_square, batches)


@pytest.mark.parametrize(
    ("visits", "expected", "entered"),
    [
        ([1, 0, 2], r"block 0 \(steps.0\)", r"block 1 \(steps.1\)"),
        ([0, 2], r"block 1 \(steps.1\)", r"block 2 \(steps.2\)"),
        ([0, 0, 1, 2], r"block 1 \(steps.1\)", r"block 0 \(steps.0\)"),
        ([0, 1], r"block 2 \(steps.2\)", r"norm \(read in tail\)"),
        ([0, 1, 2, 2], "the end of the forward", r"block 2 \(steps.2\)"),
    ],
)
def test_another_order_within_a_unit_is_refused_by_name(
    visits: list[int], expected: str, entered: str
):
    model = chain(3)
    units = units_of(model, 2)
    model.visits = visits
    with pytest.raises(ValueError, match=f"lane 0: {expected} was expected, but {entered} was ent"):
        lockstep(model, units, mean_square, [tokens()])


def test_a_unit_is_named_by_its_first_and_last_block():
    blocks = find_blocks(chain(5), per_unit=2)
    titles = [blocks.unit_title(unit) for unit in range(blocks.num_units)]
    assert titles == [
        "unit 0 (steps.0 to steps.1)",
        "unit 1 (steps.2 to steps.3)",
        "unit 2 (steps.4)",
    ]
    assert find_blocks(chain(2)).unit_title(1) == "block 1 (steps.1)"


def test_fewer_larger_operations_run():
    with engine(build("opt"), Plan(blocks_per_unit=2), recipe(), batch("opt")) as trained:
        trained.step(batch("opt"))
        trained.flush()
        spans = trained.trace().spans
        names = [s.op.name for s in spans if s.op.kind is Kind.H2D and s.step == 0]
        assert trained.divergence is None
    assert names == ["H0", "H1"]
