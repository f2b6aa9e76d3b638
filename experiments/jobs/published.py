"""Published figures, and the errors of the kernel models, as the tables that reports take."""

import tomllib
from importlib.resources import files

import pandas as pd

from zo2sim.cost.kernels import table_model
from zo2sim.machines.machine import KERNEL_TABLES

GIB = 1 << 30
MEMORY_CLAIMS = ("zo2-nvml-memory", "zo2-allocated-memory-fp16", "mezo-memory-fp16", "adamw-memory")
REGIONS = {"GEMM": ("main", "large"), "attention": ("all",)}
"""Which shapes a reader asks about; `python -m experiments.fit_kernels ` prints all of them."""


def memory_claims() -> pd.DataFrame:
    """Published device memory: claim, model (untied, as where it was measured), gib."""
    text = files("zo2sim").joinpath("data/published.toml").read_text()
    claims = {c["id"]: c for c in tomllib.loads(text)["claim"]}
    rows = [
        {"claim": name, "model": f"{model}:untied", "gib": value * claim["unit_bytes"] / GIB}
        for name in MEMORY_CLAIMS
        for claim in (claims[name],)
        for model, value in claim["values"].items()
    ]
    return pd.DataFrame(rows)


def kernel_errors() -> pd.DataFrame:
    """Errors on shapes held out of the fit, by device and kind of kernel."""
    rows = [
        {
            "device": name,
            "kernel": kind,
            "shapes": region,
            "count": error.count,
            "median error": error.median,
            "90th percentile error": error.p90,
        }
        for name in KERNEL_TABLES
        for kind, kernel in (
            ("GEMM", table_model(name).gemm),
            ("attention", table_model(name).attention),
        )
        for region, error in kernel.errors.items()
        if region in REGIONS[kind]
    ]
    return pd.DataFrame(rows)
