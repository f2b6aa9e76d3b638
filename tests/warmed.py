"""Imported where processes are forked from: what each would load or work out first is there.

A run of the command, one of an engine that ranks have part in, and one of a folder that is read by
shard: of transformers' patterns of names alone a process compiles a thousand at its first load.
"""

import gc
import os
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import active_count
from time import perf_counter, sleep

from tqdm import tqdm

from experiments import run
from tests.commands import call
from tests.experiments.training.kills.killed_runs import Material
from tests.forked import limited
from tests.zo2rt.engine.engine_runs import recipe
from tests.zo2rt.exchange.rank_jobs import Task, alone
from zo2sim.plan.choices import Plan

_PATIENCE_S = 30.0


def _warm() -> None:
    tqdm.monitor_interval = 0  # by a thread of its own
    with TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        material = Material(Path(folder))
        flags = (*material.flags("dense"), "--steps", "1", "--out", str(Path(folder, "run")))
        assert call(run, *flags).code == 0
    alone(Task(Plan(), recipe(), None, steps=1))


def _threads() -> int:
    """Those that Python knows nothing of, too."""
    return len(os.listdir("/proc/self/task"))


def _until_ended(before: int) -> None:
    """A thread that was joined may not have ended yet.

    While it ends, MKL holds the locks of all threads, and a process that is forked meanwhile waits
    for good at its first product.
    """
    patience = perf_counter() + _PATIENCE_S
    while _threads() > before:
        assert perf_counter() < patience, f"{_threads()} threads go on, of which {before} were here"
        sleep(0.001)


_before = _threads()
_warm()
_until_ended(_before)
assert active_count() == 1, "a process is forked from one thread"
gc.collect()
gc.freeze()  # or each would look for garbage among all of it, and copy the pages
os.register_at_fork(after_in_child=limited)
