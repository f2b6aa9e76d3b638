"""Whole runs, killed at random, end with all that one holds and tells that is left alone."""

from pathlib import Path
from random import Random

import pytest

from tests.experiments.training.kills.killed_runs import CASES, Material, killed_run
from tests.thorough import THOROUGH

KILLS = 60 if THOROUGH else 4


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_ends_as_one_left_alone(case: str, material: Material, tmp_path: Path):
    random, kills, count = Random(case), 0, 0
    while kills < KILLS:
        kills += killed_run(material, case, tmp_path / f"run {count}", random)
        count += 1
