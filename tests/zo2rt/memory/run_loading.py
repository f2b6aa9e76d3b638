"""Loads and saves a model by shard in a process of its own: `python -m ... MODEL RUN TIER FORMAT`.

Writes JSON: by how much making an engine of the folder, and saving its model, let the process grow
at most (mapped files count), what the account has to train with, the largest shard, the size of the
model, and how often its bytes were read to load it. `write` makes such a folder: random, bf16.

With a number of bytes behind it, no more than account, largest shard and these are there to be
had (`tests.zo2rt.memory.confined`), and it writes how often there was no room, too.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families import batch
from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from tests.zo2rt.memory.confined import confined, times_full
from tests.zo2rt.memory.run_phases import peak, rss_bytes
from zo2rt.backends import HostBackend
from zo2rt.backends.buffers import give_back_freed
from zo2rt.checkpoint import Checkpoint
from zo2rt.checkpoint.folder import INDEX
from zo2rt.engine.engine import Engine, Objective
from zo2sim.dtypes import Dtype
from zo2sim.memory.runtime import AROUND_A_RUN, AT_A_SNAPSHOT, account
from zo2sim.models.config import from_config
from zo2sim.plan.choices import Plan, Recipe

RANK = 8


def _encoded(storage: Dtype, trainable: Any) -> Recipe:
    shape: dict[str, Any] = {"batch": 2, "sequence": 8, "compute_dtype": Dtype.BF16}
    return Recipe(storage_dtype=storage, trainable=trainable, **shape)


FORMATS: Mapping[str, Recipe] = {
    "bf16": recipe(Dtype.BF16, batch=2, sequence=8),
    "int4-lora": _encoded(Dtype.INT4, f"lora:{RANK}"),
    "int4-scales": _encoded(Dtype.INT4, "scales"),
    "int8-scales": _encoded(Dtype.INT8, "scales"),
}
VOCAB = 512


def loading(
    model: Path, run: Path, tier: Any, form: str, slack_bytes: int | None = None
) -> dict[str, int]:
    warm = write(run / "warm", 128, 2)  # what libraries take once
    loaded(warm, run / "warm run", tier, form)
    return loaded(model, run / "run", tier, form, slack_bytes)


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


def loaded(
    folder: Path, run: Path, tier: Any, form: str, slack_bytes: int | None = None
) -> dict[str, int]:
    how = FORMATS[form]
    give_back_freed()
    start = rss_bytes()
    checkpoint = Checkpoint(LlamaForCausalLM, folder, torch.bfloat16)
    plan, found = Plan(tier=tier), dict[str, int]()
    needed = account(from_config(checkpoint.model.config.to_dict(), name="it"), plan, how)
    beside = (*AROUND_A_RUN, AT_A_SNAPSHOT)
    found["account"] = needed.without(beside).on_one_memory.host_bytes
    found["shard"] = max(path.stat().st_size for path in folder.glob("*.safetensors"))
    found["weights"] = checkpoint.num_bytes
    model: Any = checkpoint.model
    if how.lora_rank is not None:
        config = LoraConfig(r=RANK, target_modules="all-linear", lora_dropout=0.0)
        model = get_peft_model(model, config, autocast_adapter_dtype=False).eval()
    read, num_bytes = _read_bytes(), checkpoint.num_bytes
    with limited(found, slack_bytes), HostBackend() as backend:
        with peak(found, "loading", start, rss_bytes):
            engine = Engine(
                model,
                plan,
                how,
                Objective(example=batch("llama")),
                backend=backend,
                optimizer=OPTIMIZER,
                folder=run,
                checkpoint=checkpoint,
            )
        found["percent_read"] = round(100 * (_read_bytes() - read) / num_bytes)
        with peak(found, "saving", start, rss_bytes):
            engine.save(run / "saved")
    engine._let_go()  # whose buffers end with the process
    return found


@contextmanager
def limited(found: dict[str, int], slack_bytes: int | None) -> Iterator[None]:
    """With so much more than account and shard, or with all that there is."""
    if slack_bytes is None:
        yield
        return
    with confined(found["account"] + found["shard"] + slack_bytes) as group:
        yield
        found["times_full"] = times_full(group)


def _read_bytes() -> int:
    """By this process, from wherever the system has it."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


if __name__ == "__main__":
    model, run, tier, form, *slack = sys.argv[1:]
    found = loading(Path(model), Path(run), tier, form, *map(int, slack))
    sys.stdout.write(json.dumps(found))
