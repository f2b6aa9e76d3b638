"""Inverse answers are tight: at the answer it works, just below it nothing does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.strategies import SMALL_CONFIG, contended_spaces, small_models, spaces
from tests.thorough import examples
from tests.zo2sim.search.plan_spaces import Tried, every_tried
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace_all, scale_link
from zo2sim.memory.account import MemoryPlace
from zo2sim.models.config import from_config
from zo2sim.models.config.wider import Widths
from zo2sim.models.presets import config, names, preset
from zo2sim.models.shapes import Model, deeper
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.search.candidates import Candidates
from zo2sim.search.largest import Edge, deepest, room_for, rooms_for, widest
from zo2sim.search.least_link import (
    FINEST,
    WIDEST,
    Failing,
    LeastLink,
    _Links,
    _Reached,
    least_link,
)
from zo2sim.search.least_memory import LeastMemory, Unreachable, least_memory, seconds_per_token
from zo2sim.search.ledger import Ledger
from zo2sim.search.space import PlanSpace, plan_axes
from zo2sim.simulate.steady import Floats

AMPLE = {
    MemoryPlace.DEVICE: {"device.memory_bytes": 1e12},
    MemoryPlace.HOST: {"host.memory_bytes": 1e13},
}
ROUNDING = 1 + 2e-9
shares = st.one_of(st.floats(0.2, 1.0), st.floats(1.001, 1.5))
"""Targets relative to the fastest plan."""


def tried_on(space: PlanSpace, machine: Machine) -> list[Tried]:
    """Every plan of the space that fits a machine."""
    base = replace(space.base, machine=machine)
    return [one for one in every_tried(replace(space, base=base)) if one.fit]


def speed(tried: list[Tried]) -> float:
    return max((one.tokens_per_s for one in tried), default=0.0)


def need(one: Tried, place: MemoryPlace) -> int:
    return one.device_bytes if place is MemoryPlace.DEVICE else one.host_bytes


# Memory


@settings(max_examples=examples(60))
@given(
    space=spaces(),
    place=st.sampled_from((MemoryPlace.DEVICE, MemoryPlace.HOST)),
    share=shares,
)
def test_least_memory_is_tight(space: PlanSpace, place: MemoryPlace, share: float):
    """With as many bytes some plan reaches the target; with one less no plan does."""
    machine = replace_all(space.base.machine, AMPLE[place])
    tried = tried_on(space, machine)
    assume(tried)
    target = share * speed(tried)
    found = least_memory(space, place, target)
    if share > ROUNDING:
        assert isinstance(found, Unreachable)
        assert speed(tried) <= found.tokens_per_s * ROUNDING
        return
    assert isinstance(found, LeastMemory)
    within = [one for one in tried if need(one, place) <= found.num_bytes]
    below = [one for one in tried if need(one, place) < found.num_bytes]
    assert speed(within) >= target / ROUNDING
    assert speed(below) < target * ROUNDING
    assert speed(below) <= found.below_tokens_per_s * ROUNDING
    assert found.below_tokens_per_s < target * ROUNDING
    assert found.at.tokens_per_s >= target / ROUNDING


# Links


@settings(max_examples=examples(50))
@given(
    space=st.one_of(spaces(), contended_spaces()),
    share=st.one_of(shares, st.floats(0.97, 1.0)),
    slower=st.floats(0.3, 1.0),
)
def test_the_slowest_link_is_tight(space: PlanSpace, share: float, slower: float):
    """On the link it works, just below it does not, and nowhere below where bounds rule it out.

    A faster link need not make every plan faster, which is why the last is a claim of its own.
    """
    machine = space.base.machine
    own = speed(tried_on(space, machine))
    assume(own > 0.0)
    with at_most_links(100):
        found = least_link(space, share * own)
    if isinstance(found, Unreachable):
        widest = speed(tried_on(space, scale_link(machine, WIDEST)))
        assert widest <= found.tokens_per_s * ROUNDING < share * own * ROUNDING
        return
    assert speed(tried_on(space, scale_link(machine, found.factor))) >= share * own / ROUNDING
    assert (found.below is None) == (found.factor == 1.0 / WIDEST)
    if found.below is None:
        return
    assert found.below.factor * (1 + FINEST) >= found.factor / ROUNDING
    below = speed(tried_on(space, scale_link(machine, found.below.factor)))
    assert below <= found.below.tokens_per_s * ROUNDING
    assert found.below.tokens_per_s < share * own * ROUNDING
    if found.never is None:
        return
    assert found.never <= found.below.factor
    anywhere = speed(tried_on(space, scale_link(machine, found.never * slower)))
    assert anywhere < share * own * ROUNDING


@contextmanager
def at_most_links(most: int) -> Iterator[None]:
    """No question looks at more links: a search that stays where it is fails, and does not hang."""
    asked: list[Candidates] = []

    def ledger(candidates: Candidates, work: Floats) -> Ledger:
        asked.append(candidates)
        assert len(asked) <= most, f"{len(asked)} links were looked at, and no answer was found"
        return Ledger(candidates, work)

    with patch("zo2sim.search.least_link.Ledger", ledger):
        yield


def test_another_plan_is_followed_below_the_crossing_of_the_first():
    """On a wide link every step's write-back is best; on slow ones a rarer one reaches further."""
    base = Case(
        model=preset("opt-125m"), machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe()
    )
    space, target = PlanSpace(base=base, axes={"write_back_every": (1, 4)}), 80_000.0
    with at_most_links(100):
        links = _Links.of(space, seconds_per_token(target))
        low, first = links.tried(1.0 / WIDEST), links.tried(WIDEST)
        assert isinstance(low, Failing)
        assert isinstance(first, _Reached)
        alone = first.alone._followed(low, first)
        reached, below = links.crossing(low, first)
    assert [one.at.case.plan.write_back_every for one in (first, alone, reached)] == [1, 1, 4]
    assert alone.factor > reached.factor * (1 + FINEST)
    assert below.tokens_per_s < target <= reached.at.tokens_per_s


def test_where_everything_fits_any_link_is_enough():
    base = Case(
        model=preset("opt-125m"), machine=named("rtx-4090-24gb"), plan=Plan(), recipe=Recipe()
    )
    space = PlanSpace(base=base, axes=plan_axes(base))
    found = least_link(space, 1000.0)
    assert isinstance(found, LeastLink)
    assert (found.factor, found.below, found.never) == (1.0 / WIDEST, None, None)


@pytest.mark.parametrize("target", [0.0, -1.0, float("inf"), float("nan")])
def test_a_target_is_above_zero(target: float):
    base = Case(
        model=preset("opt-125m"), machine=named("rtx-4090-24gb"), plan=Plan(), recipe=Recipe()
    )
    space = PlanSpace(base=base, axes={})
    for question in (lambda: least_link(space, target), lambda: _device(space, target)):
        with pytest.raises(ValueError, match="a target must be above 0 tokens/s and finite"):
            question()


def _device(space: PlanSpace, target: float) -> object:
    return least_memory(space, MemoryPlace.DEVICE, target)


# Models


@settings(max_examples=examples(25))
@given(
    model=small_models(),
    host_gb=st.floats(4.02, 4.4),
    device_gb=st.floats(1.5, 1.7),
)
def test_the_deepest_model_fits_and_one_block_more_does_not(
    model: Model, host_gb: float, device_gb: float
):
    """Against every plan of the whole space, not only the smallest ones."""
    room = {"host.memory_gb": host_gb, "device.memory_gb": device_gb}
    machine = replace(replace_all(named("rtx-4090-24gb"), room), nvme=None)
    recipe = Recipe(sequence=64)
    base = Case(model=model, machine=machine, plan=Plan(), recipe=recipe)
    found = deepest(base)
    assert_tight(found)
    if found.fits is not None and found.fails is not None:
        assert found.fails.model.num_blocks == found.fits.model.num_blocks + 1


@settings(max_examples=examples(25))
@given(
    count=st.integers(1, 4),
    heads=st.sampled_from((4, 8)),
    host_gb=st.floats(4.02, 4.4),
    device_gb=st.floats(1.5, 1.7),
)
def test_the_widest_model_fits_and_one_head_more_does_not(
    count: int, heads: int, host_gb: float, device_gb: float
):
    config = SMALL_CONFIG | {"num_hidden_layers": count, "num_attention_heads": heads}
    model = from_config(config, name="small")
    room = {"host.memory_gb": host_gb, "device.memory_gb": device_gb}
    machine = replace(replace_all(named("rtx-4090-24gb"), room), nvme=None)
    base = Case(model=model, machine=machine, plan=Plan(), recipe=Recipe(sequence=64))
    found = widest(base, Widths(model=model, config=config))
    assert_tight(found)
    if found.fits is not None and found.fails is not None:
        assert found.fails.model.hidden == found.fits.model.hidden + model.hidden // heads


def assert_tight(found: Edge) -> None:
    """Against every plan of the whole space."""
    if found.fits is not None:
        assert some_plan_fits(found.fits.case)
        assert found.fits.missing == ()
    if found.fails is not None:
        assert not some_plan_fits(found.fails.case)
        assert found.fails.missing != ()


def some_plan_fits(case: Case) -> bool:
    base = replace(case, plan=Plan())
    axes = plan_axes(base) | {"write_back_every": (1, 3), "num_slots": (1, 2)}
    return bool(Candidates.of(PlanSpace(base=base, axes=axes)).fitting(base.machine).any())


def test_a_deeper_model_repeats_its_blocks():
    model = preset("gemma-2-2b")
    twice = deeper(model, 2 * model.num_blocks + 1)
    assert twice.blocks == (*model.blocks, *model.blocks, model.blocks[0])
    assert deeper(model, model.num_blocks).blocks == model.blocks


@pytest.mark.parametrize("name", names())
def test_a_width_of_its_own_is_the_model(name: str):
    model = preset(name)
    widths = Widths(model=model, config=config(name))
    (attention,) = model.blocks[0].attentions
    assert widths.of(attention.heads // widths.group).blocks == model.blocks


def test_wider_models_are_those_that_the_family_published():
    """Heads of opt-13b have the size that those of the larger models have."""
    family = tuple(preset(name) for name in names() if name.startswith("opt-"))
    widths = Widths(model=preset("opt-13b"), config=config("opt-13b"), family=family)
    for heads, name in ((32, "opt-6.7b"), (56, "opt-30b"), (72, "opt-66b"), (96, "opt-175b")):
        wider, published = (model.blocks for model in (widths.of(heads), preset(name)))
        assert [block.kernels_and_sizes for block in wider] == [
            block.kernels_and_sizes for block in published
        ]
        assert widths.of(heads).elements == preset(name).elements
    assert widths.depth(2 * 12288) == 2 * 96


def test_heads_for_keys_and_values_keep_their_ratio():
    widths = Widths(model=preset("llama-3-8b"), config=config("llama-3-8b"))
    (attention,) = widths.of(3).blocks[0].attentions
    assert (widths.group, attention.heads, attention.kv_heads) == (4, 12, 3)
    assert attention.head_dim == 128


def test_presets_come_by_size_with_what_they_miss():
    machine = replace_all(named("rtx-4090-24gb"), {"host.memory_gib": 6, "nvme.capacity_gb": 20})
    base = Case(model=preset("opt-125m"), machine=machine, plan=Plan(), recipe=Recipe())
    rooms = rooms_for([preset("opt-66b"), preset("opt-1.3b"), preset("opt-13b")], base)
    assert [(room.model.name, room.fits) for room in rooms] == [
        ("opt-1.3b", True),
        ("opt-13b", True),
        ("opt-66b", False),
    ]
    assert rooms[1].case.plan.resident_blocks > 0
    assert "missing" in rooms[2].missing[0]
    assert room_for(base).fits
