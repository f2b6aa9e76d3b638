"""No phase of a run takes more than its account, the end neither: measured in a process."""

import gc
import weakref
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.families import batch, build
from tests.thorough import THOROUGH
from tests.zo2rt.engine.engine_runs import engine, recipe
from tests.zo2rt.memory.models import KINDS
from tests.zo2rt.memory.phases_of_models import TIERS, above, measured
from zo2sim.plan.choices import Plan, Policy

MEASURED = [*product(KINDS, TIERS)] if THOROUGH else [("llama", "ram")]


@pytest.mark.parametrize(("kind", "tier"), MEASURED)
def test_no_phase_takes_more_than_the_account(kind: str, tier: str, tmp_path: Path):
    found = measured(kind, tier, str(tmp_path), small=not THOROUGH)
    assert above(found) == [], found
    for phase in ("save", "close") if kind != "mixtral" else ():  # whose experts are saved apart
        most = found["training"] + 0.2 * found["weights"] + found["largest"]
        assert found[phase] < most, f"{phase} copies the model"


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
