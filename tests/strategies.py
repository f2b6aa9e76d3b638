"""Every hypothesis strategy of the tests: shapes, plans, recipes, schedules, documents."""

from dataclasses import replace
from typing import get_args

from hypothesis import assume
from hypothesis import strategies as st

from analysis.report.document import (
    Code,
    Document,
    FigureBlock,
    File,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from tests.thorough import THOROUGH
from zo2sim.baselines import Method, Training
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all, scale_link
from zo2sim.models.config import from_config
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Pinning, Placement, Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal
from zo2sim.policies import Shape
from zo2sim.predict.case import Case
from zo2sim.schedule import ops as schedule
from zo2sim.schedule.ops import Buffer, Kind, Op, Schedule, Stream
from zo2sim.search.space import SEARCHED, PlanSpace

MAX_BLOCKS = 3
_MOST_AXES = 4 if THOROUGH else 3
"""Of a space, every plan of which is simulated."""
_SOME = 3 if THOROUGH else 2
"""Microbatches of a step that is executed, and steps from one write-back to the next."""


def shapes(max_blocks: int = MAX_BLOCKS) -> st.SearchStrategy[Shape]:
    """Models of 1 to ``max_blocks`` blocks, tied or not, with a loss of one forward or two."""
    return st.builds(
        Shape,
        num_blocks=st.integers(1, max_blocks),
        tied=st.booleans(),
        forwards=st.sampled_from((1, 1, 2)),
    )


@st.composite
def plans(draw: st.DrawFn, shape: Shape) -> Plan:
    """Any plan for so many blocks, with the switches that only `zo2` has drawn only there."""
    policies = [p for p in Policy if shape.forwards == 1 or not p.traits.published]
    policy = draw(st.sampled_from(policies))
    switch = st.booleans() if policy is Policy.ZO2 else st.just(True)
    rarely = policy is Policy.ZO2 and shape.forwards == 1
    periods = st.integers(1, 3) if rarely else st.just(1)
    on_disk = policy not in (Policy.HOST_UPDATE, Policy.ZO2_REFERENCE)
    return Plan(
        policy=policy,
        num_slots=draw(st.integers(1, 3)),
        scratch_copies=draw(st.integers(1, 2)),
        write_back_every=draw(periods),
        resident_blocks=draw(st.integers(0, shape.num_blocks)),
        pinning=draw(st.sampled_from(get_args(Pinning))),
        tier=draw(st.sampled_from(("ram", "nvme") if on_disk else ("ram",))),
        overlap=draw(switch),
        reuse_slots=draw(switch),
        deferred_update=draw(switch),
    )


def recipes() -> st.SearchStrategy[Recipe]:
    """What matters to a schedule: what is trained, how it is perturbed, what the wire carries."""
    return st.builds(
        Recipe,
        trainable=st.sampled_from(("all", "lora:2")),
        wire_dtype=st.sampled_from((Dtype.FP16, Dtype.FP8)),
        perturbation=st.sampled_from(("scratch", "in_place")),
        noise=st.sampled_from(("gaussian", "torch")),
    )


def choices(max_blocks: int = MAX_BLOCKS) -> st.SearchStrategy[tuple[Shape, Plan, Recipe]]:
    """A shape with a plan and a recipe that are not refused together."""
    drawn = shapes(max_blocks).flatmap(lambda s: st.tuples(st.just(s), plans(s), recipes()))
    return drawn.filter(lambda choice: refusal(*choice[1:]) is None and not _mixes_signs(*choice))


@st.composite
def shared(draw: st.DrawFn, max_blocks: int = MAX_BLOCKS) -> tuple[Shape, Plan, Recipe]:
    """The same with two to four devices."""
    shape = draw(shapes(max_blocks))
    plan = replace(
        draw(plans(shape).filter(lambda plan: not plan.policy.traits.published)),
        tier="ram",
        devices=draw(st.integers(2, 4)),
        placement=draw(st.sampled_from(get_args(Placement))),
    )
    if plan.placement == "ring":
        plan = replace(plan, lane_groups=draw(st.integers(1, 3)))
    narrow = plan.policy.traits.updates_on_host and plan.placement != "sliced"
    trainable = draw(st.sampled_from(("all", "lora:2")))
    wires = (Dtype.FP16, Dtype.FP8) if narrow and trainable == "all" else (Dtype.FP16,)
    recipe = Recipe(microbatches=3, trainable=trainable, wire_dtype=draw(st.sampled_from(wires)))
    assume(refusal(plan, recipe) is None)
    return shape, plan, recipe


def _mixes_signs(shape: Shape, plan: Plan, recipe: Recipe) -> bool:
    """Two forwards of W+ before one of W-, in place."""
    naive = plan.policy is Policy.NAIVE
    return naive and shape.forwards > 1 and recipe.perturbation == "in_place"


@st.composite
def executed(draw: st.DrawFn) -> tuple[Plan, Recipe]:
    """A plan and a recipe that the runtime executes on a model of three untrained blocks."""
    policy = draw(st.sampled_from([p for p in Policy if p is not Policy.ZO2_REFERENCE]))
    dtype = draw(st.sampled_from((Dtype.FP32, Dtype.BF16)))
    perturbation = draw(st.sampled_from(("scratch", "scratch", "in_place")))
    host_updates = policy is Policy.HOST_UPDATE and perturbation == "scratch"
    wire = draw(st.sampled_from((dtype, Dtype.FP8))) if host_updates else dtype
    plan = Plan(
        policy=policy,
        num_slots=draw(st.integers(1, 4)),
        scratch_copies=draw(st.integers(1, 2)),
        write_back_every=draw(st.sampled_from((1, _SOME))) if policy is Policy.ZO2 else 1,
        resident_blocks=draw(st.integers(0, 2)),
        deferred_update=policy is not Policy.ZO2 or draw(st.booleans()),
    )
    recipe = Recipe(
        microbatches=draw(st.sampled_from((1, _SOME))),
        samples=draw(st.integers(1, 2)),
        storage_dtype=dtype,
        wire_dtype=wire,
        compute_dtype=dtype,
        noise=draw(st.sampled_from(("gaussian", "rademacher", "torch"))),
        perturbation=perturbation,
    )
    assume(refusal(plan, recipe) is None)
    return plan, recipe


@st.composite
def encoded(draw: st.DrawFn) -> tuple[Plan, Recipe]:
    """The same for three blocks in an integer format, with adapters of rank 2, or their scales."""
    policy = draw(st.sampled_from([p for p in Policy if p is not Policy.ZO2_REFERENCE]))
    on_disk = policy is not Policy.HOST_UPDATE
    plan = Plan(
        policy=policy,
        num_slots=draw(st.integers(1, 4)),
        scratch_copies=draw(st.integers(1, 2)),
        write_back_every=draw(st.sampled_from((1, _SOME))) if policy is Policy.ZO2 else 1,
        resident_blocks=draw(st.integers(0, 2)),
        tier=draw(st.sampled_from(("ram", "nvme") if on_disk else ("ram",))),
    )
    recipe = Recipe(
        microbatches=draw(st.sampled_from((1, _SOME))),
        samples=draw(st.integers(1, 2)),
        trainable=draw(st.sampled_from(("lora:2", "scales"))),
        storage_dtype=draw(st.sampled_from((Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM))),
        compute_dtype=draw(st.sampled_from((Dtype.FP32, Dtype.BF16))),
        noise=draw(st.sampled_from(("gaussian", "rademacher"))),
    )
    assume(refusal(plan, recipe) is None)
    return plan, recipe


_STREAMS = (Stream.H2D, Stream.COMPUTE, Stream.D2H)
_BUFFERS = tuple(Buffer(schedule.BufferSpace.SLOT, number) for number in range(3))


@st.composite
def schedules(draw: st.DrawFn, max_ops: int = 6) -> Schedule:
    """Operations that touch anything from any stream, with any legal edges; racy or not."""
    some_buffers = st.lists(st.sampled_from(_BUFFERS), max_size=2, unique=True).map(tuple)
    count = draw(st.integers(1, max_ops))
    names = [f"F{i}" for i in range(count)]
    ops = (
        Op(
            kind=Kind.FORWARD,
            unit=i,
            stream=draw(st.sampled_from(_STREAMS)),
            reads=draw(some_buffers),
            writes=draw(some_buffers),
            after=draw(_edges(names[:i], names)),
        )
        for i in range(count)
    )
    return Schedule(name="random", ops=tuple(ops))


def _edges(earlier: list[str], names: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    targets = [*earlier, *(name + "^" for name in names)]
    return st.lists(st.sampled_from(targets), max_size=3, unique=True).map(tuple)


def words() -> st.SearchStrategy[str]:
    """Text of characters that any format can hold."""
    return st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=12)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Reports of one section: a figure or a table, and paragraphs that may refer to it."""
    part = st.one_of(words(), words().map(Code), words().map(File), st.just(Ref("one")))
    text = st.lists(part, max_size=3).map(tuple)
    cells = st.tuples(words(), words())
    rows = st.lists(cells, max_size=2).map(tuple)
    one: FigureBlock | TableBlock = FigureBlock(
        key="one", caption=draw(words()), wide=draw(st.booleans())
    )
    if draw(st.booleans()):
        one = TableBlock(key="one", caption=one.caption, header=draw(cells), rows=draw(rows))
    more = draw(st.lists(text.map(lambda parts: Paragraph(*parts)), max_size=2))
    return Document(
        title=draw(words()),
        abstract=draw(text),
        sections=(Section(draw(words()), (one, *more)),),
        provenance=draw(rows),
    )


# Plan spaces: small enough to try every plan


SMALL_CONFIG = {
    "model_type": "opt",
    "vocab_size": 512,
    "hidden_size": 1024,
    "ffn_dim": 4096,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "max_position_embeddings": 256,
}


@st.composite
def small_models(draw: st.DrawFn, least_blocks: int = 1) -> Model:
    """Up to four blocks; in some of them the even ones are three times as wide as the odd ones."""
    count = draw(st.integers(least_blocks, 4))
    narrow = from_config(SMALL_CONFIG | {"num_hidden_layers": count}, name="narrow")
    if not draw(st.booleans()):
        return narrow
    wide = from_config(SMALL_CONFIG | {"ffn_dim": 12288, "num_hidden_layers": count}, name="wide")
    blocks = (wide.blocks[i] if i % 2 else narrow.blocks[i] for i in range(count))
    return replace(narrow, name="mixed", blocks=tuple(blocks))


@st.composite
def odd_machines(draw: st.DrawFn) -> Machine:
    """A machine of the catalogue with another link, DRAM, cores and NVMe; anything may bind."""
    machine = named(draw(st.sampled_from(("a100-pcie-80gb", "rtx-4090-24gb", "t4-16gb"))))
    machine = scale_link(machine, draw(st.sampled_from((0.03, 0.2, 1.0, 4.0))))
    changes = {
        "host.dram_bytes_per_s": draw(st.sampled_from((5e9, 20e9, 200e9))),
        "host.num_cores": float(draw(st.sampled_from((1, 4, 64)))),
        "device.memory_bytes": draw(st.floats(1.5e9, 1.85e9)),
        "host.memory_bytes": draw(st.floats(4.04e9, 4.3e9)),
    }
    if machine.nvme is not None:
        changes["nvme.read_bytes_per_s"] = draw(st.sampled_from((1e9, 20e9)))
    return replace_all(machine, changes)


@st.composite
def spaces(draw: st.DrawFn) -> PlanSpace:
    """Some values of some axes, of the recipe's too, for a small model on an odd machine."""
    model, machine = draw(small_models()), draw(odd_machines())
    recipe = Recipe(batch=draw(st.sampled_from((1, 4))), sequence=draw(st.sampled_from((16, 256))))
    base = Case(model=model, machine=machine, plan=Plan(), recipe=recipe)
    choices: dict[str, tuple[object, ...]] = {
        "policy": SEARCHED,
        "write_back_every": (1, 2, 3),
        "scratch_copies": (1, 2),
        "num_slots": (1, 2, 3),
        "resident_blocks": tuple(range(model.num_blocks + 1)),
        "tier": ("ram", "nvme"),
        "microbatches": (1, 3),
        "samples": (1, 2),
        "wire_dtype": (Dtype.FP16, Dtype.FP8),
        "overlap": (True, False),
    }
    axes = {}
    for name in draw(st.lists(st.sampled_from([*choices]), unique=True, max_size=_MOST_AXES)):
        some = st.lists(st.sampled_from(choices[name]), min_size=1, max_size=3, unique=True)
        firm = ("write_back_every", "wire_dtype")  # else all may be refused
        always = (choices[name][0],) if name in firm else ()
        axes[name] = tuple(dict.fromkeys((*always, *draw(some))))
    return PlanSpace(base=base, axes=axes)


@st.composite
def contended_spaces(draw: st.DrawFn) -> PlanSpace:
    """Spaces in which plans slow themselves down, so that their bounds need not rank them.

    Copies meet on a link that is slower both ways, or in slow DRAM, and a longer write-back
    interval trades one for the other. Everything fits.
    """
    machine = named(draw(st.sampled_from(("a100-pcie-80gb", "rtx-4090-24gb", "t4-16gb"))))
    machine = scale_link(machine, draw(st.sampled_from((0.2, 0.5, 1.0, 2.0, 4.0))))
    link = machine.link
    both = draw(st.sampled_from((0.55, 0.7, 0.9)))
    changes = {
        "link.both_h2d_bytes_per_s": both * link.h2d_bytes_per_s.value,
        "link.both_d2h_bytes_per_s": both * link.d2h_bytes_per_s.value,
        "host.dram_bytes_per_s": draw(st.sampled_from((3e9, 10e9, 20e9, 50e9))),
    }
    recipe = Recipe(
        batch=draw(st.sampled_from((1, 4))),
        sequence=draw(st.sampled_from((16, 64, 256))),
        microbatches=draw(st.sampled_from((1, 4))),
    )
    base = Case(
        model=draw(small_models(least_blocks=3)),
        machine=replace_all(machine, changes),
        plan=Plan(),
        recipe=recipe,
    )
    on_disk = machine.nvme is not None and draw(st.booleans())
    axes = {
        "write_back_every": (1, 3),
        "num_slots": (2, 3),
        "scratch_copies": draw(st.sampled_from(((1,), (1, 2)))),
        "tier": ("ram", "nvme") if on_disk else ("ram",),
        "policy": draw(st.sampled_from(((Policy.ZO2,), (Policy.ZO2, Policy.HOST_UPDATE)))),
    }
    return PlanSpace(base=base, axes=axes)


def trainings() -> st.SearchStrategy[Training]:
    """First-order training by every method."""
    return st.sampled_from(Method).flatmap(
        lambda method: st.builds(
            Training,
            method=st.just(method),
            microbatches=st.integers(1, 1 if method is Method.ZERO_INFINITY else 3),
            num_slots=st.integers(1, 3),
        )
    )
