"""Rebuild the trained weights of any step of a run from its snapshots and journal.

python -m experiments.replay runs/run --step 40 --out weights-40.safetensors
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from safetensors.torch import save
from torch import Tensor

from experiments.cli import Answer, finish, run, write_file
from experiments.folder import write
from experiments.training.settings import Config as Settings
from experiments.training.settings import resumed
from experiments.training.setup import model_of
from zo2rt.journal import read
from zo2rt.journal.durable import Disk
from zo2rt.journal.model_files import NeedsFiles, check_unchanged
from zo2rt.journal.recovery import JOURNAL, SNAPSHOTS
from zo2rt.journal.replay import weights_at
from zo2rt.journal.snapshot import base_files


@dataclass(frozen=True, kw_only=True)
class Config:
    """Rebuild the trained weights of any step, to the bit, without a forward pass."""

    folder: Annotated[Path, tyro.conf.Positional]
    """What `experiments.run --out` wrote, or an engine's folder with journal.jsonl."""
    step: int | None = None
    """Number of updates that the weights are to contain; left out: all that are durable."""
    out: Path | None = None
    """Write the weights to this safetensors file."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    folder = _with_journal(config.folder)
    end = read(Disk(), folder / JOURNAL).position.step
    step = end if config.step is None else config.step
    try:
        weights = weights_at(Disk(), folder, step)
    except NeedsFiles:
        weights = weights_at(Disk(), folder, step, files=_files(folder))
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    if config.out is not None:
        write_file(config.out, content)
    sha256 = hashlib.sha256(content).hexdigest()
    found = {
        "step": step,
        "steps_in_journal": end,
        "parameters": len(weights),
        "elements": sum(tensor.numel() for tensor in weights.values()),
        "sha256": sha256,
    }
    line = f"step {step} of {end}: {len(weights)} parameters, sha256 {sha256}"
    return finish(Answer(found, lambda: print(line)), config.json)


def _files(folder: Path) -> Mapping[str, Tensor]:
    """The weights that the run began from, where its config.json says that they are."""
    stored = folder.parent / "config.json"
    config = resumed(Settings(out=folder.parent, resume=True), stored)
    loaded = model_of(config)
    if loaded.checkpoint is None:
        raise ValueError(f"{config.model}: must hold the safetensors files that the run began from")
    begun = base_files(Disk(), folder / SNAPSHOTS)
    check_unchanged(begun, loaded.checkpoint.sha256(), run=folder)
    return {name: loaded.checkpoint.weights(p) for name, p in loaded.model.named_parameters()}


def _with_journal(folder: Path) -> Path:
    """An engine's own folder, or the one inside what `experiments.run` wrote."""
    for candidate in (folder, folder / write.JOURNAL):
        if (candidate / JOURNAL).exists():
            return candidate
    raise ValueError(f"{folder}: a run's folder must hold a journal, {JOURNAL}; there is none")


if __name__ == "__main__":
    sys.exit(run(main, Config))
