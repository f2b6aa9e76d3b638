"""Runs whose ranks are killed at random end as one process does that nobody stopped."""

from tests.experiments.training.ranks_killed import MOST_KILLS, main
from tests.thorough import THOROUGH

KILLS, OF_A_RUN = (40, MOST_KILLS) if THOROUGH else (1, 1)


def test_a_run_whose_ranks_are_killed_ends_as_one_left_alone():
    assert main(KILLS, most=OF_A_RUN) >= KILLS
