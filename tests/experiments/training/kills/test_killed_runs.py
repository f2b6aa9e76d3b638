"""Whole runs, killed at random, end with all that one holds and tells that is left alone."""

from pathlib import Path
from random import Random

import pytest

from tests.experiments.training.kills.killed_runs import (
    CASES,
    KILLS_PER_RUN,
    Material,
    killed_run,
)
from tests.thorough import THOROUGH

KILLS, OF_A_RUN = (60, KILLS_PER_RUN) if THOROUGH else (2, 2)
TRIED = CASES if THOROUGH else ("dense", "sparse on nvme", "adapters on nvme")


@pytest.mark.parametrize("case", TRIED)
def test_a_run_that_is_killed_ends_as_one_left_alone(case: str, material: Material, tmp_path: Path):
    random, kills, count = Random(case), 0, 0
    while kills < KILLS:
        kills += killed_run(material, case, tmp_path / f"run {count}", random, OF_A_RUN)
        count += 1
