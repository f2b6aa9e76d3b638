"""Models that are loaded and saved by shard, by processes that are killed meanwhile.

    python -m tests.experiments.training.kills.killed_loads 30 1

A run is begun from a folder and killed, at a random time or before a random change of its own
folder, up to three times; then it is left alone. The model's files are as they were, and what the
run saves is, byte for byte, what one saves that nobody stopped.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from transformers import LlamaForCausalLM

from tests.experiments.training.kills.killed_runs import Death
from tests.families import batch
from tests.forked import server
from tests.zo2rt.engine.engine_runs import OPTIMIZER
from tests.zo2rt.memory.run_loading import FORMATS, write
from zo2rt.backends import HostBackend
from zo2rt.checkpoint import Checkpoint
from zo2rt.engine.engine import Engine, Objective
from zo2sim.plan.choices import Plan

CASES: Mapping[str, tuple[Plan, str]] = {
    "dense": (Plan(), "bf16"),
    "dense, on NVMe": (Plan(tier="nvme"), "bf16"),
    "four bits": (Plan(), "int4-scales"),
    "eight bits, on NVMe": (Plan(tier="nvme"), "int8-scales"),
}
STEPS = 2
KILLS_PER_RUN = 3
_CHANGES = 30
"""About as many as a run makes of its folder."""


def train(model: Path, run: Path, case: str) -> None:
    """Load, make the steps that are left, and save."""
    plan, form = CASES[case]
    checkpoint = Checkpoint(LlamaForCausalLM, model, torch.bfloat16)
    with (
        HostBackend() as backend,
        Engine(
            checkpoint.model,
            plan,
            FORMATS[form],
            Objective(example=batch("llama")),
            backend=backend,
            optimizer=OPTIMIZER,
            folder=run / "journal",
            checkpoint=checkpoint,
        ) as engine,
    ):
        while engine.num_steps < STEPS:
            engine.step(batch("llama", seed=engine.num_steps, rows=2))
        engine.save(run / "saved")


def _child(model: Path, run: Path, case: str, death: Death) -> None:
    torch.set_num_threads(1)
    with run.with_suffix(".log").open("a") as log:
        os.dup2(log.fileno(), 2)
        death.await_in(run)
        try:
            train(model, run, case)
        except Exception:
            traceback.print_exc()
            sys.exit(1)


def ended(model: Path, run: Path, case: str, death: Death) -> bool:
    """Whether it came to its end; False if it was killed. Anything else is an error."""
    process = server().Process(target=_child, args=(model, run, case, death))
    process.start()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(run.with_suffix(".log").read_text())
    return process.exitcode == 0


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass
class Material:
    """A model in a folder, and of every case what a run saves that nobody stops, and its time."""

    folder: Path
    hidden: int = 256
    blocks: int = 24
    _wanted: dict[str, tuple[Any, float]] = field(default_factory=dict[str, tuple[Any, float]])

    def __post_init__(self) -> None:
        self.model = write(self.folder / "model", self.hidden, self.blocks)
        self.files = digests(self.model)

    def wanted(self, case: str) -> tuple[Any, float]:
        if case not in self._wanted:
            run, start = self.folder / f"whole {case}", perf_counter()
            assert ended(self.model, run, case, Death())
            self._wanted[case] = digests(run / "saved"), perf_counter() - start
        return self._wanted[case]


def killed(material: Material, case: str, run: Path, random: Random) -> int:
    """How often it was killed. Raises ``AssertionError`` where anything is not as it should be."""
    saved, took_s = material.wanted(case)
    kills = 0
    for _ in range(KILLS_PER_RUN):
        timed = random.random() < 0.6
        seconds = random.uniform(0.0, took_s) if timed else None
        change = None if timed else random.randrange(_CHANGES)
        if ended(material.model, run, case, Death(change=change, seconds=seconds)):
            break
        kills += 1
        assert digests(material.model) == material.files, "the model's folder is another"
    assert ended(material.model, run, case, Death())
    assert digests(run / "saved") == saved, f"{case}: saved other bytes than a run nobody stopped"
    assert not [*(run / "journal" / "nvme").glob("*")], "blocks on NVMe are left behind"
    return kills


def main(count: int, seed: int) -> None:
    random, kills = Random(seed), 0
    with TemporaryDirectory() as folder:
        material = Material(Path(folder))
        for number in range(10 * count):
            if kills >= count:
                break
            case = [*CASES][number % len(CASES)]
            found = killed(material, case, Path(folder, f"{number}"), random)
            kills += found
            sys.stdout.write(json.dumps({"case": case, "kills": found, "in all": kills}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
