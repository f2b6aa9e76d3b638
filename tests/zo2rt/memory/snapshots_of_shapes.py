"""Snapshots of runs on NVMe, of random shapes and real sizes, against the weights in memory.

    python -m tests.zo2rt.memory.snapshots_of_shapes 40 7

Draws so many models from the seed: hidden and wide from tiny to those of a 7B, layers, slots,
resident blocks and dtype, up to a GiB of weights. Each is trained resident, and on NVMe with a
snapshot, which is read back. Prints a line for each, and fails where one tensor differs in one bit.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from tests.families import batch
from tests.zo2rt.engine.engine_runs import engine, recipe
from tests.zo2rt.engine.test_written_weights import TORCH, llama, newest
from zo2rt.journal import snapshot
from zo2rt.journal.durable import Disk
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy

_MOST_BYTES = 1 << 30
_HIDDEN = (16, 64, 96, 256, 768, 1024, 2048, 4096)
_SHARES = (1, 2, 2.7, 4, 5.375)
"""How much wider a feed-forward is; 2048 with 5.375 and 4096 with 2.7 are those of known models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    hidden: int
    wide: int
    layers: int
    dtype: Dtype
    plan: Plan

    @classmethod
    def of(cls, random: Random) -> "Drawn":
        """A model below `_MOST_BYTES`; those of one block above it are drawn again."""
        dtype, hidden = random.choice([*TORCH]), random.choice(_HIDDEN)
        wide = int(hidden * random.choice(_SHARES))
        block_bytes = (4 * hidden * hidden + 3 * hidden * wide) * dtype.bytes
        most = min(7, _MOST_BYTES // block_bytes)
        if most < 2:
            return cls.of(random)
        layers = random.randint(2, most)
        plan = Plan(
            tier="nvme",
            num_slots=random.randint(1, 4),
            write_back_every=random.randint(1, 3),
            resident_blocks=random.randint(0, layers - 1),
        )
        return cls(hidden=hidden, wide=wide, layers=layers, dtype=dtype, plan=plan)

    def __str__(self) -> str:
        plan = self.plan
        return (
            f"hidden {self.hidden} wide {self.wide} layers {self.layers} {self.dtype}, slots "
            f"{plan.num_slots}, resident {plan.resident_blocks}, every {plan.write_back_every}"
        )

    def trained(self, plan: Plan, folder: Path | None) -> dict[str, Tensor]:
        """The weights after two steps: of the model's snapshot where there is a folder."""
        model, data = llama(self.hidden, self.wide, self.layers, self.dtype), batch("llama")
        with engine(model, plan, recipe(self.dtype), data, folder=folder) as run:
            for seed in range(2):
                run.step(batch("llama", seed=seed))
            if folder is not None:
                run.snapshot()
                return dict(snapshot.read(Disk(), newest(folder)))
        return dict(model.named_parameters())

    def wrong(self) -> tuple[int, int]:
        """How many tensors of the snapshot differ, and how many there are."""
        want = self.trained(Plan(policy=Policy.RESIDENT), None)
        with TemporaryDirectory(dir=".") as folder:
            found = self.trained(self.plan, Path(folder))
        assert found.keys() == want.keys()
        return sum(not torch.equal(found[name], want[name]) for name in want), len(want)


def main(count: int, seed: int) -> int:
    random, all_wrong, all_tensors = Random(seed), 0, 0
    for number in range(count):
        drawn = Drawn.of(random)
        wrong, tensors = drawn.wrong()
        all_wrong, all_tensors = all_wrong + wrong, all_tensors + tensors
        _say(f"{number + 1:3} {drawn}: {wrong} of {tensors} wrong")
    _say(f"{all_wrong} of {all_tensors} tensors are wrong in {count} snapshots, seed {seed}")
    return int(all_wrong > 0)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
