"""Running lanes through a unit: matrix kernels, everything element-wise, launches, the loss."""

import numpy as np

from zo2sim.cost.passes import build_s, decode_s
from zo2sim.cost.setting import Setting
from zo2sim.models.shapes import Attention, Gemm, Unit
from zo2sim.schedule.ops import TAIL
from zo2sim.simulate.work import Number, Resource, Work

LOSS_BYTES_PER_LOGIT = 16
"""The fp32 copy written and read, log-softmax written and read; reading the logits comes on top."""
EAGER_BYTES_PER_SCORE = 24
"""What eager attention moves beyond the fused kernel: q k^T 2, + mask 4, max 4, softmax in fp32 6,
cast back 6, times v 2."""
ADAPTER_KERNELS = 3
"""Per adapted linear layer: into the rank, out of it, and the sum."""


def forward(s: Setting, unit: int, lanes: str) -> Work:
    """Perturb, then every lane; unperturbed lanes (``0``) run once per microbatch."""
    if lanes == "0":
        seconds = lane_s(s, unit) * s.load.microbatches + decode_s(s, unit)
        return Work(amounts={Resource.COMPUTE: seconds})
    count = len(lanes) * s.load.microbatches * s.load.samples
    seconds = lane_s(s, unit) * count + build_s(s, unit, lanes)
    return Work(amounts={Resource.COMPUTE: seconds})


def lane_s(s: Setting, unit: int) -> Number:
    """One lane through one unit: its kernels, or what the host does where that takes longer.

    The tail's lane ends with its loss. In this project's runtime each lane hands over to the next
    at a unit's boundary; the published codes run lane after lane in one thread.
    """
    shape, device = s.unit(unit), s.machine.device
    seconds = moving_s(s, unit, eager=s.eager) + matrix_s(s, shape) + _adapters_s(s, shape)
    handover_s = 0.0 if s.eager else s.machine.host.stream_handover_s.value
    return np.maximum(seconds, launches(s, shape) * device.launch_s.value + handover_s)


def moving_s(s: Setting, unit: int, *, eager: bool) -> Number:
    """What a pass through a unit takes beside matrix kernels: bytes at the memory's full rate.

    Training counts the same rate at 85 % (`zo2sim.baselines.cost`), from measurements of PyTorch's
    kernels. Nothing of the kind was measured for a forward pass here, whose matrix kernels are
    fitted with the full rate, and a share would lengthen compute by no more than 0.2 % (OPT-175B)
    to 0.9 % (OPT-1.3B), less than those kernels are off.
    """
    shape, tokens = s.unit(unit), s.load.lane_tokens
    size = s.recipe.compute_dtype.bytes
    nbytes = shape.elementwise * tokens * size
    if unit == TAIL:
        nbytes = nbytes + s.model.vocab * tokens * (size + LOSS_BYTES_PER_LOGIT)
    for attention in shape.attentions if eager else ():
        scores = attention.heads * tokens * s.load.sequence
        nbytes = nbytes + EAGER_BYTES_PER_SCORE * scores
    return nbytes / s.machine.device.memory_bytes_per_s.value


def launches(s: Setting, unit: Unit) -> int:
    """Kernels of one lane's pass through a unit."""
    adapted = 0 if s.recipe.lora_rank is None else len(unit.linear_shapes)
    return unit.kernels + ADAPTER_KERNELS * adapted


def _adapters_s(s: Setting, unit: Unit) -> Number:
    """LoRA's two products and one sum for every linear layer."""
    rank = s.recipe.lora_rank
    if rank is None:
        return 0.0
    tokens, seconds = s.load.lane_tokens, 0.0
    for out, inp in unit.linear_shapes:
        seconds = (
            seconds + s.kernels.gemm_s(tokens, rank, inp) + s.kernels.gemm_s(tokens, out, rank)
        )
    nbytes = 3 * sum(out for out, _ in unit.linear_shapes) * s.recipe.compute_dtype.bytes
    return seconds + tokens * nbytes / s.machine.device.memory_bytes_per_s.value


def loss(s: Setting) -> Work:
    """The lanes' losses come to the host, which computes g: the only wait inside a step."""
    machine = s.machine
    waits = (machine.link.latency_s, machine.device.launch_s, machine.host.stream_handover_s)
    return Work(fixed_s=sum(q.value for q in waits), amounts={})


def matrix_s(s: Setting, unit: Unit) -> Number:
    """The unit's matrix products and attention, forward."""
    return gemms_s(s, unit) + attention_s(s, unit)


def gemms_s(s: Setting, unit: Unit) -> Number:
    """The unit's matrix products with weights, forward."""
    seconds: Number = 0.0
    for gemm in unit.gemms:
        seconds = seconds + gemm.count * s.kernels.gemm_s(gemm_rows(s, gemm), gemm.n, gemm.k)
    return seconds


def gemm_rows(s: Setting, gemm: Gemm) -> Number:
    """Rows of a lane's matrix product; a router may leave less than one."""
    return np.maximum(s.load.lane_tokens * gemm.rows_per_token, 1.0)


def attention_s(s: Setting, unit: Unit) -> Number:
    """The unit's attention kernels, forward."""
    seconds: Number = 0.0
    for attention in unit.attentions:
        seconds = seconds + _attention_s(s, attention)
    return seconds


def _attention_s(s: Setting, a: Attention) -> Number:
    return s.kernels.attention_s(
        s.load.batch,
        s.load.sequence,
        a.heads,
        a.kv_heads,
        a.head_dim,
        causal=a.causal,
        window=a.window,
    )
