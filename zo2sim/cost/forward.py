"""Running lanes through a unit: matrix kernels, everything element-wise, launches, the loss."""

from zo2sim.cost.kernels.model import POWER
from zo2sim.cost.passes import build_s, decode_s, rescale_s
from zo2sim.cost.setting import ADAPTER_KERNELS, Setting
from zo2sim.models.shapes import Attention, Gemm, Unit
from zo2sim.schedule.ops import TAIL
from zo2sim.simulate.work import Number, Resource, Work

LOSS_BYTES_PER_LOGIT = 16
"""The fp32 copy written and read, log-softmax written and read; reading the logits comes on top."""
EAGER_BYTES_PER_SCORE = 24
"""What eager attention moves beyond the fused kernel: q k^T 2, + mask 4, max 4, softmax in fp32 6,
cast back 6, times v 2."""


def forward(s: Setting, unit: int, lanes: str, *, finds: bool = False) -> Work:
    """Perturb, then every lane; unperturbed lanes (``0``) run once per microbatch.

    Who ``finds`` W in scratch perturbs nothing. Of several devices all launches come from one
    interpreter, which is what their kernels may wait for.
    """
    count = len(lanes) * s.load.microbatches * (1 if lanes == "0" else s.load.samples)
    seconds = lane_s(s, unit) * count
    if lanes == "0":
        seconds = seconds + decode_s(s, unit)
    else:
        built_s = 0.0 if finds else build_s(s, unit, lanes)
        seconds = seconds + (built_s + rescale_s(s, unit, lanes))
    issue = {} if s.several is None else {Resource.ISSUE: issued_s(s, unit) * count}
    return Work(amounts={Resource.COMPUTE: seconds, **issue})


def lane_s(s: Setting, unit: int) -> Number:
    """One lane through one unit: its kernels, or what the host does where that takes longer.

    Where both take about as long, the device waits now and then for a launch, so it is a smooth
    maximum (`POWER`).

    The tail's lane ends with its loss. In this project's runtime each lane hands over to the next
    at a unit's boundary; the published codes run lane after lane in one thread.
    """
    shape = s.unit(unit)
    matrix_s = gemms_s(s, shape) + (sum(eager_s(s, shape)) if s.eager else attention_s(s, shape))
    seconds = moving_s(s, unit, eager=s.eager) + matrix_s + _adapters_s(s, shape)
    launched_s = issued_s(s, unit)
    return (seconds**POWER + launched_s**POWER) ** (1.0 / POWER)


def issued_s(s: Setting, unit: int) -> Number:
    """What the interpreter takes for one lane through one unit: launches, and the hand-over."""
    handover_s = 0.0 if s.published_arithmetic else s.machine.host.stream_handover_s.value
    return launches(s, s.unit(unit)) * s.machine.device.launch_s.value + handover_s


def moving_s(s: Setting, unit: int, *, eager: bool) -> Number:
    """What a pass through a unit takes beside matrix kernels: bytes at the rate of such passes."""
    shape, tokens = s.unit(unit), s.load.lane_tokens
    size = s.recipe.compute_dtype.bytes
    nbytes = shape.moved(s.load.batch, s.load.sequence) * size
    if unit == TAIL and not s.workload.once:
        nbytes = nbytes + s.model.vocab * tokens * (size + LOSS_BYTES_PER_LOGIT)
    for attention in shape.attentions if eager else ():
        if not attention.fused:
            continue  # its scores are counted among the elements
        scores = attention.heads * tokens * s.load.sequence
        nbytes = nbytes + EAGER_BYTES_PER_SCORE * scores
    return nbytes / s.machine.device.pass_bytes_per_s


def launches(s: Setting, unit: Unit) -> Number:
    """Kernels of one lane's pass through a unit."""
    adapted = 0 if s.recipe.lora_rank is None else len(unit.linear_shapes)
    return unit.launches(s.load.sequence) + ADAPTER_KERNELS * adapted


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
    return seconds + tokens * nbytes / s.machine.device.pass_bytes_per_s


def loss(s: Setting) -> Work:
    """The lanes' losses come to the host, which computes g: the only wait inside a step."""
    machine = s.machine
    waits = (machine.link.latency_s, machine.device.launch_s, machine.host.stream_handover_s)
    return Work(fixed_s=sum(q.value for q in waits), amounts={})


def gemms_s(s: Setting, unit: Unit) -> Number:
    """The unit's matrix products with weights, forward."""
    seconds: Number = 0.0
    for gemm in unit.gemms:
        rows = s.load.batch if _last_only(s, gemm) else s.gemm_rows(gemm)
        seconds = seconds + gemm.count * s.kernels.gemm_s(rows, gemm.n, gemm.k)
    return seconds


def _last_only(s: Setting, gemm: Gemm) -> bool:
    """The LM head, where it sees the last token of every sequence alone."""
    return s.workload.logits == "last" and gemm.n == s.model.vocab


def attention_s(s: Setting, unit: Unit) -> Number:
    """The unit's attention kernels, forward."""
    seconds: Number = 0.0
    for attention in unit.attentions:
        one_s = _attention_s(s, attention) if attention.fused else sum(_eager_s(s, attention))
        seconds = seconds + one_s
    return seconds


def eager_s(s: Setting, unit: Unit) -> tuple[Number, Number]:
    """Both products of attention operator by operator, all pairs of them: scores, and result."""
    scores_s = result_s = 0.0
    for a in unit.attentions:
        first_s, second_s = _eager_s(s, a)
        scores_s, result_s = scores_s + first_s, result_s + second_s
    return scores_s, result_s


def _eager_s(s: Setting, a: Attention) -> tuple[Number, Number]:
    sequences, length = a.square(s.load.batch, s.load.sequence)
    rows = sequences * a.heads * length
    scores_s = s.kernels.gemm_s(rows, length, a.head_dim)
    return scores_s, s.kernels.gemm_s(rows, a.value_dim or a.head_dim, length)


def _attention_s(s: Setting, a: Attention) -> Number:
    sequences, length = a.square(s.load.batch, s.load.sequence)
    return s.kernels.attention_s(
        sequences,
        length,
        a.heads,
        a.kv_heads,
        a.width,
        causal=a.causal,
        window=a.window,
    )
