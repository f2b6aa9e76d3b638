"""A small sweep by simple rules: the shape of a real one, not its numbers."""

import pandas as pd

from zo2sim.plan.choices import Plan, Policy, Recipe

GIB = 2**30
MODELS = {"opt-1.3b": 1.3e9, "opt-6.7b": 6.7e9, "opt-30b": 30e9, "opt-175b": 175e9}
LINK = 25.5e9


def row(question: str, label: str, model: str, **changes: object) -> dict[str, object]:
    """One configuration; ``changes`` overrides any column."""
    elements = MODELS[model]
    policy = {"MeZO": "resident", "AdamW": "adamw"}.get(label, label.split(" ")[0])
    base = {
        "question": question,
        "label": label,
        "model": model,
        "model_elements": int(elements),
        "machine": "a100-80gb",
        **_fields(Plan()),
        **_fields(Recipe()),
        "policy": policy,
        "step_s": elements * 1.2e-10,
        "first_step_s": elements * 1.4e-10,
        "tokens_per_step": 2048,
        "tokens_per_s": 2048 / (elements * 1.2e-10),
        "lower_bound_s": elements * 1.0e-10,
        "binding_resource": "compute",
        "device_bytes": int(2 * GIB + elements**0.75 * 40),
        "host_bytes": int(2 * elements),
        "device_allocated_bytes": float("nan"),
        "device_nvml_bytes": float("nan"),
        "fits": True,
        "compute_busy_s": elements * 1.0e-10,
        "h2d_busy_s": elements * 0.8e-10,
        "d2h_busy_s": elements * 0.8e-10,
        "exposed_s": elements * 0.1e-10,
        "bubble_s": 0.0,
        "h2d_bytes_per_s": LINK,
    }
    return {**base, **changes}


def _fields(values: Plan | Recipe) -> dict[str, object]:
    fields = (name for name in values.__dataclass_fields__)
    return {name: getattr(values, name) for name in fields}


def memory_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for model, elements in MODELS.items():
        small = 2 * GIB + elements**0.75 * 40
        nvml = {"device_nvml_bytes": small, "device_allocated_bytes": small - 1.5 * GIB}
        rows += [
            row("memory", "MeZO", model, device_bytes=2 * elements + 2 * GIB),
            row("memory", "AdamW", model, device_bytes=10 * elements),
            row("memory", "zo2_reference", model, **nvml),
            row("memory", "zo2", model, device_bytes=0.8 * small, host_bytes=2 * elements),
        ]
    return rows


def throughput_rows() -> list[dict[str, object]]:
    slower = {"MeZO": 1.0, "MeZO M=8": 1.0, "zo2_reference": 2.2, "zo2": 1.1, "zo2 k=8": 1.02}
    slower["zo2 M=8"] = 0.95
    rows: list[dict[str, object]] = []
    for label, factor in slower.items():
        for model, elements in MODELS.items():
            step_s = factor * elements * 1.2e-10
            fits = not label.startswith("MeZO") or elements < 3e10
            speed = {"step_s": step_s, "tokens_per_s": 2048 / step_s, "fits": fits}
            speed["microbatches"] = 8 if label.endswith("M=8") else 1
            binding = "link_both_ways" if label == "zo2" else "compute"
            rows.append(row("throughput", label, model, **speed, binding_resource=binding))
    return rows


def ablation_rows() -> list[dict[str, object]]:
    variants = {
        "zo2": (1.0, {}),
        "no overlap": (2.3, {"overlap": False}),
        "no slot reuse": (1.4, {"reuse_slots": False}),
        "no deferred update": (1.7, {"deferred_update": False}),
        "1 slot": (1.9, {"num_slots": 1}),
    }
    return [
        row("ablation", label, model, policy=Policy.ZO2, step_s=slow * MODELS[model] / 1e10, **off)
        for model in ("opt-6.7b", "opt-30b", "opt-175b")
        for label, (slow, off) in variants.items()
    ]


def break_even_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for tokens in (256, 1024, 4096, 16384):
        compute_s = tokens * 1e-3
        for rate in (4e9, 8e9, 16e9, 32e9, 64e9):
            step_s = max(compute_s * 1.001, 26e9 / rate)
            point = {"tokens_per_step": tokens, "h2d_bytes_per_s": rate}
            speed = {"step_s": step_s, "tokens_per_s": tokens / step_s}
            rows.append(row("break_even", "zo2", "opt-6.7b", **point, **speed))
        point = {"tokens_per_step": tokens, "tokens_per_s": tokens / compute_s}
        rows.append(row("break_even", "MeZO", "opt-6.7b", **point, step_s=compute_s))
    return rows


def both_ways_rows() -> list[dict[str, object]]:
    return [
        row(
            "both_ways",
            label,
            "opt-175b",
            write_back_every=k,
            step_s=14.0 * (1 + penalty / k),
            lower_bound_s=13.6 * (1 + penalty / k),
            binding_resource="link_both_ways",
        )
        for label, penalty in {"as fast as one way": 0.0, "measured both ways": 1.0}.items()
        for k in (1, 2, 4, 8, 16)
    ]


def sweep_table() -> pd.DataFrame:
    """Every question."""
    rows = [*memory_rows(), *throughput_rows(), *ablation_rows(), *break_even_rows()]
    return pd.DataFrame([*rows, *both_ways_rows()])


def published() -> pd.DataFrame:
    """Published figures, as the sweep reads them."""
    claims = [
        ("zo2-nvml-memory", "opt-1.3b", 3.75),
        ("zo2-nvml-memory", "opt-6.7b", 4.99),
        ("zo2-nvml-memory", "opt-30b", 8.86),
        ("zo2-nvml-memory", "opt-175b", 18.04),
        ("zo2-allocated-memory-fp16", "opt-6.7b", 2.41),
        ("zo2-allocated-memory-fp16", "opt-175b", 10.78),
        ("mezo-memory-fp16", "opt-6.7b", 16.0),
        ("adamw-memory", "opt-6.7b", 68.0),
        ("zo2-nvml-memory", "opt-66b", 12.07),
    ]
    return pd.DataFrame(claims, columns=["claim", "model", "gib"])


def items() -> pd.DataFrame:
    """Itemised device memory of three plans."""
    sizes = {
        "head": 1.2,
        "slots": 3.4,
        "scratch": 1.7,
        "activations": 0.8,
        "logits": 1.1,
        "CUDA context": 0.5,
        "rounding": 0.01,
        "records": 0.001,
    }
    return pd.DataFrame(
        [
            {"label": label, "item": item, "bytes": gib * scale * GIB}
            for label, scale in {"zo2": 1.0, "zo2 k=8": 0.9, "zo2_reference": 1.6}.items()
            for item, gib in sizes.items()
        ]
    )


def needed() -> pd.DataFrame:
    """How many tokens hide the copies, as a bisection found it."""
    tokens = {("PCIe 3", 0.9): 6144.0, ("PCIe 3", 0.99): float("nan"), ("PCIe 4", 0.9): 4096.0}
    return pd.DataFrame(
        [
            {"link": link, "bytes_per_s": 25.5e9, "share": share, "tokens": found}
            for (link, share), found in {**tokens, ("PCIe 4", 0.99): 10240.0}.items()
        ]
    )


def kernels() -> pd.DataFrame:
    """Errors of kernel models on shapes that the fit never saw."""
    return pd.DataFrame(
        {
            "kernel": ["gemm", "attention"],
            "gpu": ["a100", "a100"],
            "rows": [120, 40],
            "median_error": [0.031, 0.052],
            "p90_error": [0.094, 0.16],
        }
    )
