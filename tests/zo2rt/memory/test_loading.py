"""Loading takes what training takes and one shard, wherever the blocks live: in a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zo2rt.memory import run_loading

SLACK_BYTES = 40 << 20
"""What Python and its allocators keep, of 400 MB of weights."""


@pytest.mark.parametrize("tier", ["ram", "nvme"])
def test_loading_takes_the_account_and_one_shard(tier: str, tmp_path: Path):
    command = [sys.executable, "-m", run_loading.__name__, tier, str(tmp_path), "512", "48"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert found["weights"] > 400_000_000
    most = found["account"] + found["shard"] + SLACK_BYTES
    assert found["loading"] < most
    assert tier == "ram" or most < found["weights"] / 2, "the model would fit, too"
