"""Runs whose ranks are killed at random end as one process does that nobody stopped."""

from tests.experiments.training.ranks_killed import main
from tests.thorough import THOROUGH

KILLS = 40 if THOROUGH else 5


def test_a_run_whose_ranks_are_killed_ends_as_one_left_alone():
    assert main(KILLS) >= KILLS
