"""What is killed in the one module and lacks room in the other: made once."""

import pytest

from tests.experiments.training.kills.killed_runs import Material


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("material"))
