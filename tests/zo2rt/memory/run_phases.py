"""Runs an engine to its end, which is for a process of its own.

Tells the most memory of its own (no file's pages) that each phase took, and the account's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch

from tests.families import batch
from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from tests.zo2rt.memory.models import KINDS, TINY, Size, described
from zo2rt.backends import HostBackend
from zo2rt.backends.buffers import give_back_freed
from zo2rt.engine.contents import Contents
from zo2rt.engine.engine import Engine, Objective
from zo2rt.journal import snapshot
from zo2sim.memory import runtime
from zo2sim.memory.runtime import AROUND_A_RUN, account
from zo2sim.plan.choices import Plan

HOW = recipe(batch=2, sequence=8)


def phases(kind: str, size: Size, tier: Any, folder: Path, shard_bytes: int) -> dict[str, int]:
    torch.manual_seed(0)
    write_files_of(shard_bytes)
    run(kind, TINY, tier, folder / "warm")  # what libraries take once
    return run(kind, size, tier, folder / "run")


def write_files_of(shard_bytes: int) -> None:
    """From now on, where this process writes weights; the account knows it."""
    runtime.SHARD_BYTES = shard_bytes
    snapshot.write.__kwdefaults__ = dict(
        snapshot.write.__kwdefaults__ or {}, shard_bytes=shard_bytes
    )
    Contents.write.__defaults__ = (shard_bytes,)


def run(kind: str, size: Size, tier: Any, folder: Path) -> dict[str, int]:
    plan, model = Plan(tier=tier), KINDS[kind][0](size)
    model.save_pretrained(folder / "from")
    needed = account(described(model, kind), plan, HOW).without(AROUND_A_RUN)
    found = {
        "account": needed.on_one_memory.host_bytes,
        "weights": 4 * model.num_parameters(),
        "largest": 4 * max(parameter.numel() for parameter in model.parameters()),
    }
    load, data = partial(type(model).from_pretrained, folder / "from"), batch("llama")
    del model
    give_back_freed()
    start = own_bytes()
    with HostBackend() as backend:
        begin = partial(_begun, plan, data, backend, folder)
        with peak(found, "loading", start):
            engine = begin(load())
        with peak(found, "training", start):
            engine.step(data)
        with peak(found, "evaluation", start):
            engine.evaluate(data)
        with peak(found, "snapshot", start):
            engine.snapshot()
        with peak(found, "save", start):
            engine.save(folder / "saved")
        with peak(found, "close", start):
            engine.close()
        del engine
        with peak(found, "resume", start):
            engine = begin(load())
        engine.close()
    return found


def _begun(plan: Plan, data: Any, backend: HostBackend, folder: Path, model: Any) -> Engine:
    objective = Objective(example=data)
    return Engine(
        model.eval(), plan, HOW, objective, backend=backend, optimizer=OPTIMIZER, folder=folder
    )


@contextmanager
def peak(
    found: dict[str, int], phase: str, start: int, now: Callable[[], int] | None = None
) -> Iterator[None]:
    """Look every 2 ms."""
    now = own_bytes if now is None else now
    over, most = Event(), [now()]

    def look() -> None:
        while not over.wait(0.002):
            most.append(now())

    thread = Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()  # or the process would wait for it at its end
        thread.join()
    found[phase] = max(most) - start


def own_bytes() -> int:
    """What no file has: of a process alone, or shared."""
    return _status("RssAnon") + _status("RssShmem")


def rss_bytes() -> int:
    """With the pages of files that are mapped."""
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) * 1024
