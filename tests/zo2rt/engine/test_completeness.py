"""An engine starts no program that leaves out something of what its model asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from tests.zo2rt.engine.engine_runs import Run, recipe, run
from zo2rt.backends import VirtualBackend
from zo2rt.engine import engine as engine_module
from zo2sim.plan.choices import Plan, Policy
from zo2sim.policies import build as build_program
from zo2sim.schedule.edges import with_edges
from zo2sim.schedule.ops import Program, Schedule

DUAL = Plan(policy=Policy.DUAL)


def less(part: Schedule, name: str, *, cyclic: bool) -> Schedule:
    """A schedule without an operation, all that is left in order."""
    ops = (replace(op, after=()) for op in part.ops if op.name != name)
    return replace(part, ops=with_edges(tuple(ops), cyclic=cyclic))


@contextmanager
def leaving_out(name: str, *, checked: bool) -> Iterator[None]:
    def changed(*about: object) -> Program:
        whole = build_program(*about)  # type: ignore[arg-type]
        period = less(whole.period, name, cyclic=True)
        return replace(whole, prologue=less(whole.prologue, name, cyclic=False), period=period)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "build", changed)
        if not checked:
            patch.setattr(engine_module, "check_fulfilled", lambda *_: None)
        yield


def ran(name: str, *, checked: bool) -> Run:
    with leaving_out(name, checked=checked):
        return run("opt", DUAL, recipe(), lambda: VirtualBackend(seed=3))


def test_a_program_that_forgets_a_unit_is_refused():
    message = (
        "policy=dual: its program must do all that the model asks, once; stale hazard on "
        r"resident:tail: .* but must leave unit tail with 1 record; .*; mend the policy"
    )
    with pytest.raises(ValueError, match=message):
        ran("Utail.1", checked=True)


def test_what_is_refused_would_have_left_other_weights():
    whole, short = ran("nothing", checked=True), ran("Utail.1", checked=False)
    assert not torch.equal(*(one.weights["lm_head.weight"] for one in (whole, short)))


def test_a_copy_of_what_is_there_already_changes_no_bit():
    """Block 1 is the last in its slot, in the update's trip as in the forwards' before it."""
    whole, short = ran("nothing", checked=True), ran("H1.1", checked=True)
    assert short.losses == whole.losses
    assert all(torch.equal(short.weights[k], v) for k, v in whole.weights.items())
