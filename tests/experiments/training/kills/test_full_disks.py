"""A disk that is full ends a run in one line that names the file, and damages nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.experiments.training.kills.full_disks import Full, full_run, needed_bytes, refused_run
from tests.experiments.training.kills.killed_runs import Material
from tests.thorough import THOROUGH, some_of

LACKING = {
    "dense": [
        Full("config.json"),
        Full("journal.jsonl", 3),
        Full("steps.jsonl", 3),
        Full("model/tokenizer_config.json"),
        Full("summary.json"),
        Full("report.json"),
        Full("records.parquet"),
    ],
    "adapters on nvme": [Full("blocks.bin"), Full("model/adapter_config.json")],
}
"""In the order in which a run comes to them."""
ONE_BY_ONE = [(case, [full]) for case, lacking in LACKING.items() for full in lacking]


@pytest.mark.parametrize(("case", "lacking"), [*LACKING.items(), *(ONE_BY_ONE if THOROUGH else ())])
def test_no_room_for_a_file(case: str, lacking: Sequence[Full], material: Material, tmp_path: Path):
    refused_run(material, case, tmp_path, lacking)


@pytest.mark.parametrize("share", some_of([0.3, 0.9], every=2))
def test_a_disk_that_is_too_small(share: float, material: Material, tmp_path: Path):
    num_bytes = int(share * needed_bytes(material, "adapters on nvme"))
    try:
        said = full_run(material, "adapters on nvme", tmp_path, num_bytes)
    except PermissionError as error:
        pytest.skip(str(error))
    assert "No space left on device" in said
