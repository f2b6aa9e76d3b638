"""What an operation costs where the host's own cores are the device.

[Note: linear law] One core does one thing after another, so an operation takes the sum of its
amounts (floating-point operations, elements, bytes, kernels, calls), each times one constant of
`zo2sim.machines.cpu.Cpu`. `amounts` counts them; `seconds` prices them; a fit of the constants
to measured operations is then linear, and needs nothing but `amounts`.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from zo2sim.cost.setting import ADAPTER_KERNELS, Setting
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import Machine
from zo2sim.models.shapes import Attention
from zo2sim.plan.placement import between, groups, signs_ahead
from zo2sim.schedule.ops import HEAD, TAIL, Kind
from zo2sim.simulate.work import Number

Amounts = Mapping[str, Number]
"""By dotted key of a machine's constant: how much of it an operation takes."""

_BETWEEN = frozenset((Kind.SEND, Kind.GATHER))
_ELSEWHERE = _BETWEEN | {
    *(Kind.READ, Kind.H2D, Kind.D2H, Kind.WRITE, Kind.ENCODE, Kind.HOST_UPDATE, Kind.JOURNAL)
}
"""Kinds that run beside the stream that computes, on a thread of their own."""
HANDOVER = "host.stream_handover_s"
_BYTES = Dtype.FP32.bytes
_ASLEEP_S = 1e-3
"""After a wait of so long a core has lost what it had near. Waits of 0.2 ms cost nothing."""
NEAR_BYTES = 2 << 20
"""The second-level cache of a server core since 2023 (Intel 64 and IA-32 optimization manual).

On an EPYC 7003, which has a quarter of it, predictions are the same with 0.25 to 32 MiB.
"""

TAIL_COPIES = 1.0
"""Copies that a tail's forward pays for. Empirical: none is seen to start beside one, and counting
none predicts worse."""


def floats(taken: Amounts) -> dict[str, float]:
    """The amounts of one operation, which are no arrays, as plain numbers."""
    return {key: float(amount) for key, amount in taken.items()}


def amounts(
    s: Setting, kind: Kind, unit: int | None, lanes: str, records: int, *, finds: bool = False
) -> Amounts | None:
    """What one operation takes, or None where it does not run on a core of the device.

    A FORWARD that ``finds`` W does not build it.
    """
    if kind is Kind.LOSS:
        return {"cpu.loss_s": 1}
    if unit is None:
        return None
    if kind is Kind.FORWARD:
        return _forward(s, unit, lanes, finds=finds)
    if kind is Kind.BUILD:
        return _build(s, unit, lanes)
    if kind in (Kind.UPDATE, Kind.HOST_UPDATE):
        return _update(s, unit, records, kind)
    if kind is Kind.ENCODE:
        return _codec(s, unit, "encode")
    return None


def gap(s: Setting, kind: Kind) -> Amounts:
    """From the end of an operation until its own stream goes on.

    What runs beside the stream that computes starts when it is asked to. After the loss the host
    ends the step's lanes and enqueues the next step; where the step goes on with a trip of updates,
    that trip hides it.
    """
    if kind in _ELSEWHERE:
        return {}
    return {"cpu.gap_s": 1} if kind is not Kind.LOSS or not s.plan.defers else _turnaround(s)


def wake(kind: Kind) -> Amounts:
    """From the end of an operation beside the stream that computes to what that stream starts then.

    The thread that computes is asleep while it waits.
    """
    return {"cpu.wake_s": 1} if kind in _ELSEWHERE else {}


def woken(s: Setting, kind: Kind) -> Amounts:
    """What a copy begins with: its thread wakes up, beside lanes or alone.

    With a single slot nothing else can run while it is filled, unless trips of forwards write
    nothing back. A limit on the link hides it all, but for copies between devices, which have none.
    """
    if kind in _BETWEEN:
        return {"cpu.copy_start_s": 1}
    if kind not in (Kind.H2D, Kind.D2H) or s.machine.link.limit_bytes_per_s is not None:
        return {}
    single = s.plan.num_slots == 1 and s.plan.policy.traits.defers
    beside = s.plan.overlaps and not (kind is Kind.H2D and single)
    return {"cpu.copy_start_s" if beside else "cpu.wake_s": 1}


def in_turn(s: Setting, kind: Kind, unit: int | None, lanes: str, taken: Amounts) -> Amounts:
    """Of what a forward takes the part that it takes after forwards of the same unit on other
    devices: they bind the weights of one model, one after the other (`zo2rt.model.exclusive`).

    Before it W is built. On a ring no other device has the unit.
    """
    if kind is not Kind.FORWARD or unit is None or s.plan.placement == "ring":
        return {}
    builds = lanes != "0" and bool(s.perturbed(unit))
    ahead: Amounts = _perturbed(s, unit, lanes) if builds else {}
    return {key: amount - ahead.get(key, 0.0) for key, amount in taken.items()}


def _turnaround(s: Setting) -> Amounts:
    return {
        "cpu.turnaround_s": 1,
        "cpu.turnaround_operation_s": _operations(s),
        "cpu.turnaround_lane_s": 2 * s.load.samples * s.load.microbatches,
    }


def _operations(s: Setting) -> float:
    """Updates, builds, forwards and copies of a step, which the host enqueues."""
    plan, blocks = s.plan, s.model.num_blocks
    every = plan.devices if plan.placement != "ring" else 1
    back = every if plan.placement == "sliced" else 1
    updates = every + len(groups(plan)) + signs_ahead(plan, s.recipe)
    copies = blocks * s.streamed_share * (every + back / plan.write_back_every)
    return updates * (blocks + 2) + copies + between(plan, blocks)


def seconds(taken: Amounts, machine: Machine) -> Number:
    """The sum of amounts times constants."""
    return sum(
        amount * seconds_per(key, machine.quantity(key).value) for key, amount in taken.items()
    )


def seconds_per(key: str, value: float) -> float:
    """Seconds for one unit of what a constant prices: its inverse where it is a rate."""
    return 1.0 / value if is_rate(key) else value


def is_rate(key: str) -> bool:
    """Whether a constant prices elements, bytes or operations, and not what is there each time."""
    return key.endswith("_per_s")


def gemm_amounts(m: Number, n: int, k: int, *, bias: bool) -> Amounts:
    """One matrix product: its arithmetic, packing the weights, and opening C with the bias."""
    return {
        "cpu.gemm_flops_per_s": 2.0 * m * n * k,
        "cpu.gemm_weight_elements_per_s": 1.0 * n * k,
        "cpu.gemm_output_elements_per_s": 1.0 * m * n * bias,
    }


def attention_amounts(batch: Number, seq: Number, attention: Attention) -> Amounts:
    """Fused attention: both products and the softmax, over the pairs that its blocks visit."""
    sequences, length = attention.square(batch, seq)
    causal = attention.causal and attention.fused
    pairs = sequences * attention.heads * _pairs(length, causal=causal)
    return {
        "cpu.attention_flops_per_s": 4.0 * attention.width * pairs,
        "cpu.softmax_elements_per_s": pairs,
    }


def noise_amounts(noise: str, what: str, elements: Number, *, calls: int) -> Amounts:
    """One pass of ``what`` (perturb or update) that draws noise for every element.

    Raises ``ValueError`` for noise that no calibration measures.
    """
    if noise == "torch":
        raise ValueError(
            "noise=torch, which policy=zo2_reference draws too, must not be predicted for these "
            "cores: a calibration measures gaussian and rademacher; take one of those with another "
            "policy, or a machine without [cpu]"
        )
    return {f"cpu.{noise}_{what}_elements_per_s": elements, "cpu.call_s": calls}


def codec_amounts(what: str, wire: Dtype, elements: Number, *, calls: int) -> Amounts:
    """One pass of the wire codec (encode or decode) over tensors."""
    kind = "scaled" if wire.is_scaled else "plain"
    if wire.is_integer:
        kind = f"int{wire.bits}"
    return {f"cpu.{what}_{kind}_elements_per_s": elements, "cpu.call_s": calls}


def pass_amounts(elements: Number, records: int) -> Amounts:
    """One pass of updates: weights come and go once, and each record works on them."""
    return {
        "cpu.touched_elements_per_s": elements,
        "cpu.pass_elements_per_s": elements * records,
    }


def _forward(s: Setting, unit: int, lanes: str, *, finds: bool) -> Amounts:
    total: defaultdict[str, Number] = defaultdict(float)
    signs = 1 if lanes == "0" else len(lanes) * s.load.samples
    _add(total, _lane(s, unit), signs * s.load.microbatches)
    elements = s.perturbed(unit)
    if lanes != "0" and elements:
        _add(total, {} if finds else _perturbed(s, unit, lanes))
        total["cpu.spilled_elements_per_s"] += signs * s.load.microbatches * _spilled(elements)
    elif lanes != "0":
        total["cpu.build_s"] += 1  # frozen weights are looked up all the same
    if not finds or s.recipe.trains_scales:
        _add(total, _decoded(s, unit), s.decodes(lanes))
    total["cpu.beside_s"] += _copies_beside(s, Kind.FORWARD, unit)
    total["cpu.cold_s"] += _after_sleep(s, unit)
    if unit == HEAD and not s.plan.defers:
        total["cpu.trip_s"] += 1
    return total


def _build(s: Setting, unit: int, lanes: str) -> Amounts:
    """W ahead of its lanes; codes whose scales are trained are decoded for each of these."""
    total: defaultdict[str, Number] = defaultdict(float)
    _add(total, _perturbed(s, unit, lanes) if s.perturbed(unit) else {})
    _add(total, {} if s.recipe.trains_scales else _decoded(s, unit))
    return total


def _perturbed(s: Setting, unit: int, lanes: str) -> Amounts:
    """W+ and W- of what is trained of a unit, of every sample."""
    total: defaultdict[str, Number] = defaultdict(float)
    elements, signs = s.perturbed(unit), len(lanes) * s.load.samples
    draws = s.load.samples if s.draws_once(unit, lanes) else signs
    calls = s.perturbed_tensors(unit)
    _add(total, noise_amounts(s.recipe.noise, "perturb", elements, calls=calls), draws)
    if s.recipe.recoded and unit >= 0:
        _add(total, _codec(s, unit, "decode"), draws)
        _add(total, _codec(s, unit, "encode"), draws * (not s.plan.policy.traits.streams))
    total["cpu.pass_elements_per_s"] += (signs - draws) * elements  # W- from W+'s draw
    total["cpu.build_s"] += draws
    return total


def _after_sleep(s: Setting, unit: int) -> float:
    """Forwards before which the computing core slept: where nothing overlaps, it waits for copies.

    On the average over blocks, of which some may be resident.
    """
    if s.plan.overlaps or unit < 0:
        return 0.0
    copy_s = s.unit_bytes(unit, s.recipe.wire_dtype) / s.machine.link.h2d_bytes_per_s.value
    return s.streamed_share * (copy_s > _ASLEEP_S)


def _copies_beside(s: Setting, kind: Kind, unit: int) -> float:
    """Copies that start when an operation does, on the average over a period.

    A block goes back while its forward runs, and the slot that then falls free is filled while the
    next block is updated. A policy that does not defer loads beside forwards, and moves blocks both
    ways beside its trip of updates, of which the last comes home beside the next head.
    """
    plan, share = s.plan, s.streamed_share
    if not plan.overlaps or (unit < 0 and kind is not Kind.FORWARD):
        return 0.0
    if unit == TAIL:
        return share * TAIL_COPIES
    if not plan.policy.traits.defers:
        return share * (2.0 if unit == HEAD else 1.0)
    if unit == HEAD:
        return 0.0
    return share / plan.write_back_every if kind is Kind.FORWARD else share * (plan.num_slots > 1)


def _codec(s: Setting, unit: int, what: str) -> Amounts:
    """A block into its wire format, or out of it; one that stays goes through both (`LaneWeights`).

    A scaled format takes several passes over every row.
    """
    taken = s.unit(unit)
    return codec_amounts(what, s.recipe.wire_dtype, taken.elements, calls=len(taken.parameters))


def _decoded(s: Setting, unit: int) -> Amounts:
    """What of a block is stored in an integer format, decoded once; nothing of other units.

    A machine that was calibrated before these were measured takes as long as out of fp8.
    """
    dtype, cpu = s.recipe.storage_dtype, s.cpu
    if unit < 0 or not dtype.is_integer:
        return {}
    taken = s.unit(unit).decoded(dtype)
    if cpu is not None and cpu.decode_int4_elements_per_s is None:
        dtype = Dtype.FP8
    return codec_amounts("decode", dtype, taken.elements, calls=len(taken.parameters))


def _spilled(elements: Number) -> Number:
    """What of a unit's W is far when a lane reads it: theta and W are more than a core has near."""
    return np.maximum(elements - NEAR_BYTES / (2 * _BYTES), 0.0)


def _lane(s: Setting, unit: int) -> Amounts:
    shape, tokens = s.unit(unit), s.load.lane_tokens
    total: defaultdict[str, Number] = defaultdict(float)
    for gemm in shape.gemms:
        _add(total, gemm_amounts(s.gemm_rows(gemm), gemm.n, gemm.k, bias=gemm.bias), gemm.count)
    for attention in shape.attentions:
        _add(total, attention_amounts(s.load.batch, s.load.sequence, attention))
    moved = shape.moved(s.load.batch, s.load.sequence) - shape.cast_elements * tokens
    total["cpu.elementwise_bytes_per_s"] += moved * _BYTES
    launch = "cpu.launch_s" if unit >= 0 else "cpu.outer_launch_s"
    for out, inp in shape.linear_shapes if s.recipe.lora_rank is not None else ():
        _add(total, _adapter(s, out, inp))
    total[launch] += shape.launches(s.load.sequence) - shape.cast_kernels
    total["cpu.block_s"] += unit >= 0
    total[HANDOVER] += 2  # the lane's thread is woken, and wakes its caller at the unit's end
    if unit == HEAD:
        total["cpu.lane_start_s"] += 1
    if unit == TAIL:
        total["cpu.loss_elements_per_s"] += s.model.vocab * tokens
        total["cpu.lane_end_s"] += 1
    return total


def _adapter(s: Setting, out: int, inp: int) -> Amounts:
    """Both products of a linear layer's adapter, and the sum with what the layer gives.

    Of so few columns a product takes as long as its input or its output takes to move.
    """
    rank, tokens = s.recipe.lora_rank or 0, s.load.lane_tokens
    total: defaultdict[str, Number] = defaultdict(float)
    _add(total, gemm_amounts(tokens, rank, inp, bias=False))
    _add(total, gemm_amounts(tokens, out, rank, bias=False))
    total["cpu.elementwise_bytes_per_s"] += (inp + 4 * out) * tokens * _BYTES
    total["cpu.launch_s"] += ADAPTER_KERNELS
    return total


def _update(s: Setting, unit: int, records: int, kind: Kind) -> Amounts:
    elements = s.trained(unit)
    if records == 0 or elements == 0:
        return {}
    draws, calls = elements * records * s.load.samples, s.trained_tensors(unit)
    drawn = noise_amounts(s.recipe.noise, "update", draws, calls=calls)
    total: defaultdict[str, Number] = defaultdict(float, drawn)
    _add(total, pass_amounts(elements, records))
    if s.recipe.plain_dtype is not Dtype.FP32:
        total["cpu.round_elements_per_s"] += elements * records
    total["cpu.pass_s"] += 1
    if kind is Kind.UPDATE:
        total["cpu.beside_s"] += _copies_beside(s, kind, unit)
    if unit == HEAD and not s.plan.defers:
        total["cpu.trip_s"] += 1
    return total


def _add(total: defaultdict[str, Number], more: Amounts, times: Number = 1) -> None:
    for key, amount in more.items():
        total[key] = total[key] + amount * times


def _pairs(seq: Number, *, causal: bool) -> Number:
    """Pairs (query, key) that the blocks of PyTorch's CPU kernel visit for one head.

    Queries come in blocks of 256 from 768 on, of 64 from 192 on, of 32 below; a block visits every
    key up to its own last one (PyTorch, aten/src/ATen/native/cpu/FlashAttentionKernel.cpp).
    """
    if not causal:
        return seq * seq
    block = np.where(seq >= 768, 256, np.where(seq >= 192, 64, 32))
    return seq * (seq + np.minimum(block, seq)) / 2
