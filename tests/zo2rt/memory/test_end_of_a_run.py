"""No phase of a run takes more than its account, the end neither: measured in a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zo2rt.memory import run_phases


@pytest.mark.parametrize("tier", ["ram", "nvme"])
def test_no_phase_takes_more_than_the_account(tier: str, tmp_path: Path):
    command = [sys.executable, "-m", run_phases.__name__, tier, str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    needed, weights = found.pop("account"), found.pop("weights")
    assert {phase: n for phase, n in found.items() if n > 1.03 * needed} == {}
    for phase in ("save", "close"):
        assert found[phase] < found["training"] + 0.2 * weights, f"{phase} copies the model"
