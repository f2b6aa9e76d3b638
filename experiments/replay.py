"""Rebuild the trained weights of any step of a run from its snapshots and journal.

python -m experiments.replay runs/run --step 40 --out weights-40.safetensors
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from safetensors.torch import save

from experiments.cli import Answer, finish, run, write_file
from experiments.folder import write
from zo2rt.journal import read
from zo2rt.journal.durable import Disk
from zo2rt.journal.recovery import JOURNAL
from zo2rt.journal.replay import weights_at


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
    weights = weights_at(Disk(), folder, step)
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


def _with_journal(folder: Path) -> Path:
    """An engine's own folder, or the one inside what `experiments.run` wrote."""
    for candidate in (folder, folder / write.JOURNAL):
        if (candidate / JOURNAL).exists():
            return candidate
    raise ValueError(f"{folder}: a run's folder must hold a journal, {JOURNAL}; there is none")


if __name__ == "__main__":
    sys.exit(run(main, Config))
