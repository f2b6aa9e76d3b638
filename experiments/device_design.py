"""Short runs on a card, that say how far the calibrated cost model is from the engine."""

from collections.abc import Iterator
from dataclasses import replace

from experiments.run_design import llama, opt, recipe
from zo2rt.measure.runs import RunSpec
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Noise, Plan, Policy, Recipe


def device_runs() -> Iterator[RunSpec]:
    """Models of some hundred million weights: streamed, rarely written back, and resident."""
    wide, gated = opt(2048, 6, vocab=8192), llama(2048, 6, vocab=8192)
    bf16, fp32 = Dtype.BF16, Dtype.FP32
    designs = (
        ("opt, streamed", wide, Plan(), _recipe(bf16, 4, "gaussian")),
        (
            "llama, streamed, every 3",
            gated,
            Plan(write_back_every=3),
            _recipe(bf16, 2, "rademacher"),
        ),
        ("opt, resident", wide, Plan(policy=Policy.RESIDENT), _recipe(bf16, 8, "gaussian")),
        ("llama, fp32, 4 slots", gated, Plan(num_slots=4), _recipe(fp32, 1, "rademacher")),
    )
    for name, config, plan, how in designs:
        yield RunSpec(name=name, config=config, plan=plan, recipe=how)


def _recipe(dtype: Dtype, batch: int, noise: Noise) -> Recipe:
    how = recipe(batch=batch, sequence=512, noise=noise)
    return replace(how, storage_dtype=dtype, wire_dtype=dtype, compute_dtype=dtype)
