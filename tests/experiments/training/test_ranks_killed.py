"""Runs whose ranks are killed at random end as one process does that nobody stopped."""

from random import Random

import pytest

from tests.experiments.training.ranks_killed import PLANS, killed_run
from tests.thorough import THOROUGH

KILLS = 30 if THOROUGH else 2
"""Of each plan."""


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_a_run_whose_ranks_are_killed_ends_as_one_left_alone(number: int):
    random, kills = Random(number), 0
    while kills < KILLS:
        kills += killed_run(random, number)
