"""Grids: axes are parsed, checked and multiplied with the base."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.case.axes import parse_axes
from experiments.case.spec import Spec
from experiments.jobs.grid import expand
from experiments.jobs.job import Job
from zo2sim.plan.choices import Plan, Policy, Recipe


def job(plan: Plan | None = None, **changes: float) -> Job:
    spec = Spec(
        model="opt-125m",
        machine="a100-pcie-80gb",
        plan=plan or Plan(),
        recipe=Recipe(),
        changes=tuple(changes.items()),
    )
    return Job(question="grid", label="base", spec=spec)


def grid(*axes: str, plan: Plan | None = None) -> list[Job]:
    return list(expand([job(plan)], parse_axes(axes)))


def test_axes_multiply_in_order():
    jobs = grid("num-slots=1,2", "microbatches=3,4")
    assert [(j.spec.plan.num_slots, j.spec.recipe.microbatches) for j in jobs] == [
        *((1, 3), (1, 4), (2, 3), (2, 4))
    ]
    assert [j.label for j in jobs][:2] == [
        "base, num_slots=1, microbatches=3",
        "base, num_slots=1, microbatches=4",
    ]


def test_without_axes_the_base_is_left():
    assert grid() == [job()]


def test_models_machines_switches_and_constants_are_axes():
    jobs = grid("model=opt-1.3b", "machine=l40s-48gb", "overlap=false", "link.latency_us=5,10")
    assert {(j.spec.model, j.spec.machine, j.spec.plan.overlap) for j in jobs} == {
        ("opt-1.3b", "l40s-48gb", False)
    }
    assert [j.spec.changes for j in jobs] == [
        (("link.latency_us", 5.0),),
        (("link.latency_us", 10.0),),
    ]


def test_refused_combinations_are_left_out():
    jobs = grid("policy=zo2,naive", "write-back-every=1,2")
    assert [(j.spec.plan.policy, j.spec.plan.write_back_every) for j in jobs] == [
        (Policy.ZO2, 1),
        (Policy.ZO2, 2),
        (Policy.NAIVE, 1),
    ]


def test_a_grid_of_nothing_says_why():
    with pytest.raises(ValueError, match=r"no combination that is allowed: write_back_every > 1"):
        grid("policy=naive,dual", "write-back-every=2")


def test_pinning_follows_the_policy_of_the_axis():
    jobs = grid("policy=zo2_reference,zo2", plan=Plan(policy=Policy.ZO2))
    assert [j.spec.plan.pinning for j in jobs] == ["rounded", "exact"]


def test_a_pinning_that_was_chosen_stays():
    jobs = grid("policy=zo2_reference,zo2", plan=Plan(pinning="pageable"))
    assert [j.spec.plan.pinning for j in jobs] == ["pageable", "pageable"]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("nope=1", "an axis must be a plan's field, model, machine or a dotted machine constant"),
        ("num-slot=1", "got 'num-slot'; did you mean num_slots?"),
        ("=1", "got ''"),
        ("", "got ''"),
        ("num-slots", "axis 'num-slots' must have values, as in num-slots=1,2; got 'num-slots'"),
        ("num-slots=,", "axis 'num-slots' must have values"),
        ("num-slots=0", "num_slots must be a whole number >= 1; got 0"),
        ("num-slots=1.5", "num_slots must be a whole number >= 1; got '1.5'"),
        ("batch=--1", "batch must be a whole number >= 1; got '--1'"),
        ("batch=nan", "batch must be a whole number >= 1; got 'nan'"),
        ("batch=\u0663", "batch must be a whole number >= 1; got '\u0663'"),
        ("overlap=maybe", "overlap must be true or false; got 'maybe'"),
        ("policy=best", "policy must be one of resident, naive"),
        ("trainable=1", "trainable must be 'all', 'scales', or 'lora:R' with a rank R >= 1; got 1"),
        ("scratch-copies=true", "scratch_copies must be 1 or 2; got True"),
        ("link.latency_us=fast", "link.latency_us must be a number; got 'fast'"),
    ],
)
def test_what_is_wrong_with_an_axis_is_said(axis: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        grid(axis)


def test_an_axis_is_given_once():
    with pytest.raises(ValueError, match=r"with all of its values; got 'num-slots' again"):
        grid("num_slots=1", "num-slots=2")


@settings(deadline=None)
@given(
    name=st.sampled_from(["batch", "tier", "overlap", "trainable", "link.latency_us", "pinning"]),
    text=st.text(max_size=10),
)
def test_no_text_breaks_an_axis(name: str, text: str):
    with contextlib.suppress(ValueError):
        assert grid(f"{name}={text}")
