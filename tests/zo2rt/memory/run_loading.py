"""Loads a model by shard in a process of its own: `python -m ... TIER FOLDER HIDDEN BLOCKS`.

Writes JSON: by how much opening the folder and making an engine let the process grow at most, what
the account has to train with, the largest shard, and the model's size. Weights are random, bf16.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families import batch
from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from tests.zo2rt.memory.run_phases import peak, rss_bytes
from zo2rt.backends import HostBackend
from zo2rt.backends.buffers import give_back_freed
from zo2rt.checkpoint import Checkpoint
from zo2rt.checkpoint.folder import INDEX
from zo2rt.engine.engine import Engine, Objective
from zo2sim.dtypes import Dtype
from zo2sim.memory.runtime import AROUND_A_RUN, AT_A_SNAPSHOT, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan

HOW = recipe(Dtype.BF16, batch=2, sequence=8)
VOCAB = 512


def main(tier: Any, folder: Path, hidden: int, blocks: int) -> None:
    loaded(write(folder / "warm", 64, 2), tier, folder / "warm run")  # what libraries take once
    made = write(folder / "model", hidden, blocks)
    sys.stdout.write(json.dumps(loaded(made, tier, folder / "run")))


def write(folder: Path, hidden: int, blocks: int) -> Path:
    """A model's folder, a shard for every two blocks; no more than a tensor is in memory."""
    sizes: dict[str, Any] = {"intermediate_size": 4 * hidden, "num_hidden_layers": blocks}
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=hidden, num_attention_heads=4, **sizes)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {n: p.shape for n, p in LlamaForCausalLM(config).named_parameters()}
    files: dict[str, dict[str, Tensor]] = {}
    drawn = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).mul(0.02).bfloat16()
    for name, shape in shapes.items():
        part = int(name.split(".")[2]) // 2 if ".layers." in name else blocks
        rows = drawn.repeat(-(-shape.numel() // drawn.numel()))[: shape.numel()]
        files.setdefault(f"model-{part:05d}.safetensors", {})[name] = rows.view(shape)
        finish(folder, files, part)
    finish(folder, files, blocks + 1)
    names = {n: f"model-{part_of(n, blocks):05d}.safetensors" for n in shapes}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


def part_of(name: str, blocks: int) -> int:
    return int(name.split(".")[2]) // 2 if ".layers." in name else blocks


def finish(folder: Path, files: dict[str, dict[str, Tensor]], part: int) -> None:
    """Write what comes before this part; head and tail are last."""
    for name in [*files]:
        if int(name[6:11]) < part:
            save_file(files.pop(name), folder / name, metadata={"format": "pt"})


def loaded(folder: Path, tier: Any, run: Path) -> dict[str, int]:
    give_back_freed()
    start = rss_bytes()
    checkpoint = Checkpoint(LlamaForCausalLM, folder, torch.bfloat16)
    plan, found = Plan(tier=tier), dict[str, int]()
    needed = account(from_config(checkpoint.model.config.to_dict(), name="it"), plan, HOW)
    beside = (*AROUND_A_RUN, AT_A_SNAPSHOT)
    found["account"] = needed.without(beside).on_one_memory.host_bytes
    found["shard"] = max(path.stat().st_size for path in folder.glob("*.safetensors"))
    found["weights"] = checkpoint.num_bytes
    with HostBackend() as backend, peak(found, "loading", start, rss_bytes):
        engine = Engine(
            checkpoint.model,
            plan,
            HOW,
            Objective(example=batch("llama")),
            backend=backend,
            optimizer=OPTIMIZER,
            folder=run,
            checkpoint=checkpoint,
        )
    engine._let_go()  # whose buffers end with the process
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
