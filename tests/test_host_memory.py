"""Host memory of a model that is large enough for it to show: the process holds what is accounted.

Run in a process of its own, because a process that has run other tests has memory to reuse.
"""

import json
import subprocess
import sys
from typing import Any

import psutil
import torch
from transformers import OPTConfig, OPTForCausalLM

from tests.engine_runs import engine
from tests.families import batch as tiny
from tests.families import build
from zo2rt.backends import HostBackend
from zo2sim.dtypes import Dtype
from zo2sim.memory import account
from zo2sim.memory_account import CACHED, CONTEXT, Place
from zo2sim.model_config import from_config
from zo2sim.plan import Plan, Recipe

FP32 = Recipe(
    storage_dtype=Dtype.FP32,
    wire_dtype=Dtype.FP32,
    compute_dtype=Dtype.FP32,
    noise="rademacher",
    sequence=16,
)
NOT_ON_A_HOST = (CONTEXT, CACHED, "cuBLAS workspace", "process")


def large() -> Any:
    """280 million weights, 1.1 GB, of the value 0.01."""
    config = OPTConfig(
        vocab_size=4096,
        hidden_size=1024,
        word_embed_proj_dim=1024,
        ffn_dim=4096,
        num_hidden_layers=22,
        num_attention_heads=16,
        max_position_embeddings=64,
    )
    with torch.device("meta"):
        model = OPTForCausalLM(config)
    model.to_empty(device="cpu").tie_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.01)
    return model.eval()


def grown_bytes(plan: Plan) -> tuple[int, int]:
    """By how much the process has grown after some steps, and what the account says."""
    with engine(build("opt"), plan, FP32, tiny("opt")) as trained:
        trained.step(tiny("opt"))  # libraries are loaded, kernels compiled
    process = psutil.Process()
    before = process.memory_info().rss
    model = large()
    batch = {"input_ids": torch.ones(1, 16, dtype=torch.long)}
    batch["labels"] = batch["input_ids"]
    backend = HostBackend()
    with engine(model, plan, FP32, batch, lambda: backend) as trained:
        for _ in range(2):
            trained.step(batch)
        given_out = backend.memory()
        for _ in range(2):
            trained.step(batch)
        assert backend.memory() == given_out, "nothing is allocated after the second step"
        grown = process.memory_info().rss - before
    predicted = account(from_config(model.config.to_dict(), name="large"), plan, FP32)
    parts = predicted.itemised(Place.DEVICE) | predicted.itemised(Place.HOST)
    return grown, sum(n for name, n in parts.items() if name not in NOT_ON_A_HOST)


def test_the_process_holds_what_is_accounted():
    code = (
        "import json; from tests.test_host_memory import grown_bytes;"
        "from zo2sim.plan import Plan; print(json.dumps(grown_bytes(Plan())))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    grown, accounted = json.loads(done.stdout.splitlines()[-1])
    assert accounted > 1e9
    assert abs(grown / accounted - 1.0) < 0.05, (grown, accounted)
