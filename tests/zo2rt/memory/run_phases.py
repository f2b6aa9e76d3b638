"""Runs an engine to its end in a process of its own: `python run_phases.py TIER FOLDER`.

Writes JSON: the most memory of its own (no file's pages) that each phase took, and the account's.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families import batch
from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from zo2rt.backends import HostBackend
from zo2rt.backends.buffers import give_back_freed
from zo2rt.engine.engine import Engine, Objective
from zo2sim.memory.runtime import AROUND_A_RUN, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan

HOW = recipe(batch=2, sequence=8)


def main(tier: Any, folder: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    run(sizes, tier, folder / "warm")  # what libraries take once
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 7}
    sys.stdout.write(json.dumps(run(sizes, tier, folder / "run")))


def run(sizes: dict[str, Any], tier: Any, folder: Path) -> dict[str, int]:
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads)).save_pretrained(folder / "from")
    give_back_freed()
    start = anonymous_bytes()
    model: Any = LlamaForCausalLM.from_pretrained(folder / "from").eval()
    plan, found = Plan(tier=tier), {}
    needed = account(from_config(model.config.to_dict(), name="it"), plan, HOW)
    found["account"] = needed.without(AROUND_A_RUN).on_one_memory.host_bytes
    found["weights"] = 4 * model.num_parameters()
    objective = Objective(example=batch("llama"))
    with HostBackend() as backend:
        with peak(found, "loading", start):
            engine = Engine(
                model, plan, HOW, objective, backend=backend, optimizer=OPTIMIZER, folder=folder
            )
        with peak(found, "training", start):
            engine.step(batch("llama"))
        with peak(found, "evaluation", start):
            engine.evaluate(batch("llama"))
        with peak(found, "snapshot", start):
            engine.snapshot()
        with peak(found, "save", start):
            engine.save(folder / "saved")
        with peak(found, "close", start):
            engine.close()
    return found


@contextmanager
def peak(
    found: dict[str, int], phase: str, start: int, now: Callable[[], int] | None = None
) -> Iterator[None]:
    """Look every 2 ms."""
    now = anonymous_bytes if now is None else now
    over, most = Event(), [now()]

    def look() -> None:
        while not over.wait(0.002):
            most.append(now())

    thread = Thread(target=look)
    thread.start()
    yield
    over.set()
    thread.join()
    found[phase] = max(most) - start


def anonymous_bytes() -> int:
    return _status("RssAnon")


def rss_bytes() -> int:
    """With the pages of files that are mapped."""
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1], Path(sys.argv[2]))
