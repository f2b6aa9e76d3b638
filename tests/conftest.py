"""Settings of every test.

Times on a busy machine prove nothing, so no example has a deadline. Where a change has to pass
before it lands (CI is set), every run draws the same examples; elsewhere each draws new ones.
"""

import atexit
import gc
import os
import shutil
from collections.abc import Generator, Iterator
from tempfile import mkdtemp

# Test processes share few cores, and a BLAS whose threads spin stalls the others. It reads this
# when numpy is first imported, which is why it stands before any other import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # the same of PyTorch, in what tests start

# What a run keeps for the next one is kept for one session of tests.
os.environ["XDG_CACHE_HOME"] = mkdtemp(prefix="zo2sim-tests-")

import pytest
from hypothesis import HealthCheck, settings

from experiments.entry.loading import loading
from tests.thorough import examples

_RELAXED = {
    "deadline": None,
    "max_examples": examples(100),
    "suppress_health_check": [HealthCheck.too_slow],
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: to look for garbage among it takes a third of the time,
    a second later, and a run that measures itself looks before it begins."""
    with loading():
        collected = yield
    gc.unfreeze = lambda: None
    gc.set_threshold(20_000, 10, 10)  # of 700 new objects nearly all are in use still
    return collected


@pytest.fixture(scope="module", autouse=True)
def _kept() -> Iterator[None]:
    """The same of what a file's tests keep for others: every Trainer looks for garbage twice."""
    yield
    gc.collect()
    gc.freeze()


atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
settings.register_profile("explore", **_RELAXED)
settings.register_profile("ci", derandomize=True, **_RELAXED)
settings.load_profile("ci" if os.environ.get("CI") else "explore")
