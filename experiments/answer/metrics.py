"""Predictions as records: the flat metrics that tables, JSON and reports are made of."""

from dataclasses import asdict
from typing import Any

from experiments.answer.trust import Trust
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.runtime import streamed_bytes
from zo2sim.plan.choices import Pinning
from zo2sim.predict.predict import Prediction
from zo2sim.schedule.ops import Stream

UNITS = {
    "step_s": "s",
    "first_step_s": "s",
    "tokens_per_s": "1/s",
    "tokens_per_step": "1",
    "lower_bound_s": "s",
    "device_bytes": "B",
    "device_allocated_bytes": "B",
    "device_nvml_bytes": "B",
    "host_bytes": "B",
    "nvme_bytes": "B",
    "compute_busy_s": "s",
    "h2d_busy_s": "s",
    "d2h_busy_s": "s",
    "exposed_s": "s",
    "bubble_s": "s",
    "model_elements": "1",
    "h2d_bytes_per_s": "B/s",
    "fits": "bool",
    "fits_share": "1",
    "fits_device": "bool",
}
"""Every numeric metric with its unit."""

PINNED: tuple[Pinning, ...] = ("exact", "rounded")
"""Ways to page-lock: one's own buffer, or PyTorch's allocator with its powers of two."""


def metrics(prediction: Prediction) -> dict[str, float]:
    """One number per metric of `UNITS`, per step where it is a time."""
    case, memory, steady = prediction.case, prediction.memory, prediction.steady
    steps = prediction.trace.steady_steps
    busy = {stream: steady.busy_s.get(stream, 0.0) / steps for stream in Stream}
    return {
        "step_s": prediction.step_s,
        "first_step_s": prediction.trace.first_step_s,
        "tokens_per_s": prediction.tokens_per_s,
        "tokens_per_step": float(case.recipe.tokens_per_step),
        "lower_bound_s": prediction.bound.step_s,
        "device_bytes": float(memory.device_bytes),
        "device_allocated_bytes": float(prediction.published.device_allocated_bytes),
        "device_nvml_bytes": float(prediction.published.device_nvml_bytes),
        "host_bytes": float(memory.host_bytes),
        "nvme_bytes": float(memory.nvme_bytes),
        "compute_busy_s": busy[Stream.COMPUTE],
        "h2d_busy_s": busy[Stream.H2D],
        "d2h_busy_s": busy[Stream.D2H],
        "exposed_s": steady.exposed_s / steps,
        "bubble_s": steady.bubble_s / steps,
        "h2d_bytes_per_s": case.machine.link.h2d_bytes_per_s.value,
        "fits": float(prediction.fit),
        "fits_device": float(all(f.fits for f in prediction.fits if f.place is MemoryPlace.DEVICE)),
    }


def summary(prediction: Prediction, trust: Trust) -> dict[str, Any]:
    """The JSON object of a prediction: verdict, time, bound, memory item by item, provenance."""
    memory = prediction.memory
    return {
        "model": prediction.case.model.name,
        "machine": prediction.case.machine.name,
        "parameters": prediction.case.model.elements,
        "forward_flops": _forward_flops(prediction),
        "fits": prediction.fit,
        **asdict(prediction.case.workload),
        "seconds": prediction.step_s,
        "seconds_band": [trust.band.low_step_s, trust.band.high_step_s],
        "step_s": prediction.step_s,
        "first_step_s": prediction.trace.first_step_s,
        "tokens_per_s": prediction.tokens_per_s,
        "lower_bound_s": prediction.bound.step_s,
        "gap": prediction.gap,
        "binding_resource": prediction.bound.binds[0],
        "binds": list(prediction.bound.binds),
        "limits_s": dict(prediction.bound.limits_s),
        "device_bytes": memory.device_bytes,
        "device_allocated_bytes": prediction.published.device_allocated_bytes,
        "device_nvml_bytes": prediction.published.device_nvml_bytes,
        "host_bytes": memory.host_bytes,
        "nvme_bytes": memory.nvme_bytes,
        "host_pinned_bytes": {way: _streamed(prediction, way) for way in PINNED},
        "device": memory.itemised(MemoryPlace.DEVICE),
        "host": memory.itemised(MemoryPlace.HOST),
        "nvme": memory.itemised(MemoryPlace.NVME),
        "provenance": dict(prediction.provenance),
        **trust.content,
    }


def _forward_flops(prediction: Prediction) -> float:
    """Of one lane."""
    recipe = prediction.case.recipe
    return prediction.case.model.flops(recipe.batch, recipe.sequence)


def _streamed(prediction: Prediction, pinning: Pinning) -> int:
    case = prediction.case
    return streamed_bytes(case.model, case.plan, case.recipe, pinning)
