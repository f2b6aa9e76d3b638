"""A disk that is full ends a run in one line that names the file, and damages nothing."""

from pathlib import Path

import pytest

from tests.experiments.training.kills.full_disks import Full, full_run, needed_bytes, refused_run
from tests.experiments.training.kills.killed_runs import Material


@pytest.mark.parametrize(
    ("case", "full"),
    [
        ("dense", Full("config.json")),
        ("dense", Full("journal.jsonl", 5)),
        ("dense", Full("steps.jsonl", 7)),
        ("nvme", Full("blocks.bin")),
        ("adapters", Full("model/adapter_config.json")),
        ("dense", Full("model/tokenizer_config.json")),
        ("dense", Full("summary.json")),
        ("dense", Full("report.json")),
        ("dense", Full("records.parquet")),
    ],
    ids=lambda one: one.name if isinstance(one, Full) else one,
)
def test_no_room_for_a_file(case: str, full: Full, material: Material, tmp_path: Path):
    refused_run(material, case, tmp_path, full)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_disk_that_is_too_small(share: float, material: Material, tmp_path: Path):
    num_bytes = int(share * needed_bytes(material, "nvme"))
    try:
        said = full_run(material, "nvme", tmp_path, num_bytes)
    except PermissionError as error:
        pytest.skip(str(error))
    assert "No space left on device" in said
