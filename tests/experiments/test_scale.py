"""`scale`: many workers on one screen, and as JSON."""

import pytest

from experiments import scale
from experiments.scale import counts
from tests.commands import call

SMALL = ("opt-125m", "rtx-4090-24gb", "--workers", "1,1000")


def test_the_screen_says_both_ways_and_where_they_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call(scale, *SMALL).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    assert any(line.split()[:1] == ["1,000"] for line in lines)
    assert "The wall: from " in " ".join(lines)
    assert "…" not in "".join(lines)


def test_the_json_has_a_row_for_each_way_network_and_number():
    found = call(scale, *SMALL, "--json", "-").json
    ways = [(r["directions"], r["noise"], r["network"], r["workers"]) for r in found["steps"]]
    assert len(ways) == len(set(ways)) == 12
    assert found["message_bytes"] == 24
    assert found["wall_workers"].keys() == {"gaussian", "rademacher"}
    alone = [row for row in found["steps"] if row["workers"] == 1]
    assert all(row["efficiency"] == 1.0 for row in alone)


def test_numbers_of_workers_are_read_in_order():
    assert counts("64, 1,8,8") == (1, 8, 64)
    for text in ("", "0", "1.5", "-3", "1,,2", "many"):
        with pytest.raises(ValueError, match="--workers must be whole numbers above 0, as 1,8,64"):
            counts(text)
