"""Loading and saving take what training takes and one shard, wherever the blocks live."""

from pathlib import Path

import pytest

from tests.forked import apart
from tests.thorough import some_of
from tests.zo2rt.memory.run_loading import loading, write

SLACK_BYTES = 20 << 20
"""What Python and its allocators keep, of 200 MB of weights."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model"), 512, 24)


@pytest.mark.parametrize(
    ("tier", "form"),
    some_of(
        [("nvme", "bf16"), ("ram", "bf16"), ("ram", "int4-lora"), ("nvme", "int4-scales")], every=3
    ),
)
def test_they_take_the_account_and_one_shard(tier: str, form: str, model: Path, tmp_path: Path):
    found = apart(loading, model, tmp_path, tier, form)
    assert found["weights"] > 200_000_000
    most = found["account"] + found["shard"] + SLACK_BYTES
    assert max(found["loading"], found["saving"]) < most
    assert (tier, form) == ("ram", "bf16") or most < found["weights"] * 0.6, "it would fit, too"
