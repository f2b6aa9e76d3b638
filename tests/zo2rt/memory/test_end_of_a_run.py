"""No phase of a run takes more than its account, the end neither: measured in a process."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.families import batch, build
from tests.zo2rt.engine.engine_runs import engine, recipe
from tests.zo2rt.memory import run_phases
from zo2sim.plan.choices import Plan, Policy


@pytest.mark.parametrize("tier", ["ram", "nvme"])
def test_no_phase_takes_more_than_the_account(tier: str, tmp_path: Path):
    command = [sys.executable, "-m", run_phases.__name__, tier, str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    needed, weights = found.pop("account"), found.pop("weights")
    assert {phase: n for phase, n in found.items() if n > 1.03 * needed} == {}
    for phase in ("save", "close"):
        assert found[phase] < found["training"] + 0.2 * weights, f"{phase} copies the model"


@pytest.mark.parametrize("plan", [Plan(policy=Policy.RESIDENT), Plan(), Plan(tier="nvme")], ids=str)
def test_what_a_closed_engine_took_is_free_when_nobody_names_it(plan: Plan, tmp_path: Path):
    """And not when Python next looks for circles, which a few large tensors do not bring about."""

    def kept(model: nn.Module) -> list[weakref.ref[Any]]:
        with engine(model, plan, recipe(), batch("opt"), folder=tmp_path) as trained:
            trained.step(batch("opt"))
            parts = trained._parts
            return [*map(weakref.ref, (trained, parts.arena, parts.residence, parts.operations))]

    gc.disable()
    try:
        assert [one() for one in kept(build("opt"))] == [None] * 4
    finally:
        gc.enable()
