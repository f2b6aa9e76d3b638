"""Plan files: there and back, and every way to get one wrong."""

import contextlib
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import plans, recipes, shapes
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe, Reference
from zo2sim.plan.file import dump, from_fields, parse


@given(plan=shapes().flatmap(plans), recipe=recipes())
def test_a_plan_and_a_recipe_survive_the_round_trip(plan: Plan, recipe: Recipe):
    assert parse(dump(plan, recipe)) == (plan, recipe)


def test_the_text_names_every_field():
    assert dump(Plan(policy=Policy.NAIVE), Recipe(trainable="lora:8")).splitlines() == [
        "[recipe]",
        "batch = 1",
        "sequence = 2048",
        "microbatches = 1",
        "samples = 1",
        'trainable = "lora:8"',
        'storage_dtype = "fp16"',
        'wire_dtype = "fp16"',
        'compute_dtype = "fp16"',
        'noise = "gaussian"',
        'perturbation = "scratch"',
        "",
        "[plan]",
        'policy = "naive"',
        "num_slots = 2",
        "scratch_copies = 1",
        "write_back_every = 1",
        "resident_blocks = 0",
        'pinning = "exact"',
        'tier = "ram"',
        "overlap = true",
        "reuse_slots = true",
        "deferred_update = true",
    ]


@pytest.mark.parametrize("reference", ["mezo", "zo2"])
def test_a_reference_is_named_where_there_is_one(reference: Reference):
    """Journals of runs without one hold the text that they always held."""
    recipe = Recipe(noise="torch", perturbation="in_place", reference=reference)
    text = dump(Plan(), recipe)
    assert f'\nreference = "{reference}"\n' in text
    assert parse(text) == (Plan(), recipe)
    assert "reference" not in dump(Plan(), Recipe())


def test_what_devices_share_is_named_where_there_are_several():
    plan = Plan(devices=2, placement="whole", lane_groups=3)
    text = dump(plan, Recipe())
    assert text.endswith('devices = 2\nplacement = "whole"\nlane_groups = 3\n')
    assert parse(text)[0] == plan
    assert "placement" not in dump(replace(plan, devices=1), Recipe())


def test_what_is_left_out_takes_its_default():
    assert parse("") == (Plan(), Recipe())
    assert parse("[plan]\nnum_slots = 3") == (Plan(num_slots=3), Recipe())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[plan", "p.toml: must be TOML; "),
        ("[[" * 20_000, "p.toml: must be TOML; "),
        ("x = 9" + "9" * 5000, "p.toml: must be TOML; "),
        ("[plans]", "p.toml: tables must be [recipe] and [plan]; got [plans]"),
        ("plan = 3", "p.toml: [plan] must be a table; got 3"),
        (
            "[plan]\nnum_slot = 3",
            "p.toml: [plan] has no field 'num_slot'; did you mean num_slots?",
        ),
        ("[recipe]\nzzz = 3", "p.toml: [recipe] has no field 'zzz'"),
        (
            "[plan]\nnum_slots = 0",
            "p.toml: [plan] num_slots must be a whole number >= 1; got 0",
        ),
        (
            "[plan]\nnum_slots = 2.0",
            "p.toml: [plan] num_slots must be a whole number >= 1; got 2.0",
        ),
        ("[plan]\nnum_slots = true", "num_slots must be a whole number >= 1; got True"),
        ("[plan]\nscratch_copies = true", "p.toml: [plan] scratch_copies must be 1 or 2; got True"),
        ("[plan]\nresident_blocks = -1", "resident_blocks must be a whole number >= 0; got -1"),
        ("[plan]\noverlap = 1", "p.toml: [plan] overlap must be true or false; got 1"),
        ('[plan]\noverlap = "false"', "overlap must be true or false; got 'false'"),
        ("[plan]\npolicy = []", "policy must be one of resident, naive, dual, zo2"),
        ("[plan]\npolicy = {}", "policy must be one of resident, naive, dual, zo2"),
        ('[plan]\ntier = "disk"', "tier must be one of ram, nvme; got 'disk'"),
        (
            "[plan]\npinning = []",
            "pinning must be one of auto, exact, rounded, pageable, staged; got []",
        ),
        ("[recipe]\nbatch = nan", "p.toml: [recipe] batch must be a whole number >= 1; got nan"),
        ("[recipe]\nbatch = inf", "p.toml: [recipe] batch must be a whole number >= 1; got inf"),
        (
            "[recipe]\ntrainable = 1",
            "[recipe] trainable must be 'all', 'scales', or 'lora:R' with a rank R >= 1; got 1",
        ),
        (
            '[recipe]\ntrainable = "lora:0"',
            "trainable must be 'all', 'scales', or 'lora:R' with a rank R",
        ),
        ('[recipe]\nwire_dtype = "int3"', "wire_dtype must be one of fp32, fp16, bf16, fp8"),
        ('[recipe]\nreference = "MeZO"', "reference must be one of none, mezo, zo2; got 'MeZO'"),
        ('[recipe]\ncompute_dtype = "fp8"', "compute_dtype must be fp32, fp16 or bf16"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text, where="p.toml")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@given(field=st.sampled_from([*Plan.__dataclass_fields__]), value=_VALUES)
def test_no_value_of_a_plan_gets_past_the_check(field: str, value: object):
    with contextlib.suppress(ValueError):
        assert type(getattr(from_fields(Plan, {field: value}), field)) in (int, bool, str, Policy)


@given(field=st.sampled_from([*Recipe.__dataclass_fields__]), value=_VALUES)
def test_no_value_of_a_recipe_gets_past_the_check(field: str, value: object):
    with contextlib.suppress(ValueError):
        assert type(getattr(from_fields(Recipe, {field: value}), field)) in (int, str, Dtype)


@given(text=st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str):
    """A plan and a recipe, or a `ValueError`: nothing else comes out."""
    with contextlib.suppress(ValueError):
        plan, recipe = parse(text, where="p.toml")
        assert (type(plan), type(recipe)) == (Plan, Recipe)
