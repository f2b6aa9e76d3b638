"""Files: what is measured of a drive, as often as was asked for, and nothing left behind."""

from pathlib import Path

import pytest

from zo2rt.measure import disk


def test_a_drive_is_written_and_read_as_often_as_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(disk, "_PIECE_BYTES", 3 * 4096)
    found = [*disk.pieces(tmp_path, count=2)]
    written = [row for row in found if "nvme.write_bytes_per_s" in row.amounts]
    assert [row.amounts["nvme.write_bytes_per_s"] for row in written] == [3 * 4096.0] * 2
    assert len(found) == 3 * len(written), "a page and the whole are read of each"
    assert [*tmp_path.iterdir()] == []
