"""Running lanes through a unit: matrix kernels, everything element-wise, launches, the loss."""

import numpy as np

from zo2sim.cost.passes import build_s
from zo2sim.cost.setting import Setting
from zo2sim.model import Unit
from zo2sim.resources import Number, Resource, Work
from zo2sim.schedule import TAIL

LOSS_BYTES_PER_LOGIT = 8
"""Log-softmax in fp32, written and read; reading the logits comes on top."""


def forward(s: Setting, unit: int, lanes: str) -> Work:
    """Perturb, then every lane; unperturbed lanes (``0``) run once per microbatch."""
    if lanes == "0":
        return Work(amounts={Resource.COMPUTE: lane_s(s, unit) * s.load.microbatches})
    count = len(lanes) * s.load.microbatches * s.load.samples
    seconds = lane_s(s, unit) * count + build_s(s, unit, lanes)
    return Work(amounts={Resource.COMPUTE: seconds})


def lane_s(s: Setting, unit: int) -> Number:
    """One lane through one unit: its kernels, or their launches where these take longer.

    The tail's lane ends with its loss.
    """
    shape, device = s.unit(unit), s.machine.device
    tokens = s.load.lane_tokens
    size = s.recipe.compute_dtype.bytes
    nbytes = shape.elementwise * tokens * size
    if unit == TAIL:
        nbytes = nbytes + s.model.vocab * tokens * (size + LOSS_BYTES_PER_LOGIT)
    seconds = nbytes / device.memory_bytes_per_s.value + _matrix_s(s, shape)
    return np.maximum(seconds, shape.kernels * device.launch_s.value)


def loss(s: Setting) -> Work:
    """The lanes' losses come to the host, which computes g: the only wait inside a step."""
    machine = s.machine
    waits = (machine.link.latency_s, machine.device.launch_s, machine.host.stream_handover_s)
    return Work(fixed_s=sum(q.value for q in waits), amounts={})


def _matrix_s(s: Setting, unit: Unit) -> Number:
    seconds: Number = 0.0
    for gemm in unit.gemms:
        rows = np.maximum(s.load.lane_tokens * gemm.rows_per_token, 1.0)
        seconds = seconds + gemm.count * s.kernels.gemm_s(rows, gemm.n, gemm.k)
    if unit.attention is not None:
        a = unit.attention
        seconds = seconds + s.kernels.attention_s(
            s.load.batch,
            s.load.sequence,
            a.heads,
            a.kv_heads,
            a.head_dim,
            causal=a.causal,
            window=a.window,
        )
    return seconds * _slower_than_half(s)


def _slower_than_half(s: Setting) -> float:
    """Peak of half precision over that of the compute dtype; refuses what the card lacks."""
    device = s.machine.device
    return device.half_flops_per_s.value / device.flops_per_s(s.recipe.compute_dtype).value
