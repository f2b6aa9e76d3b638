"""A process that is killed while it loads or saves a model damages nothing."""

from pathlib import Path
from random import Random

import pytest

from tests.experiments.training.kills.killed_loads import CASES, Material, killed
from tests.thorough import THOROUGH


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("killed"), hidden=128, blocks=4)


@pytest.mark.parametrize("case", CASES if THOROUGH else ["four bits"])
def test_a_run_that_is_killed_saves_what_another_does(
    case: str, material: Material, tmp_path: Path
):
    assert killed(material, case, tmp_path / "run", Random(CASES[case][1])) >= 0
