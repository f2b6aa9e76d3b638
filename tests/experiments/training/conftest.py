"""Runs have no figures where no test looks at them."""

from collections.abc import Iterator

import pytest

from tests.experiments.training.undrawn import undraw


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        undraw(patch.setattr)
        yield
