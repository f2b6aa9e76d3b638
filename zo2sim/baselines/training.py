"""First-order training: what is computed, and who keeps what where.

A baseline is no plan of zeroth-order fine-tuning: it has gradients, optimizer states and one lane
per microbatch, and neither noise nor samples. So it has fields of its own; the schedule that
comes out of it is the same kind of data as any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from zo2sim.dtypes import Dtype

AttentionKind = Literal["fused", "eager"]
Home = Literal["device", "host", "nvme"]


class Method(StrEnum):
    """Whose training it is."""

    ADAMW = "adamw"
    ZERO_OFFLOAD = "zero_offload"
    ZERO_INFINITY = "zero_infinity"
    FUYOU = "fuyou"
    ROUNDPIPE = "roundpipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Homes:
    """Where a method keeps what it needs between two visits.

    ``step_in_backward`` says that the optimizer treats a unit as soon as its gradient is there,
    else it starts when all gradients are (their norm is clipped, an overflow skips the step).
    ``state_buffers`` is how many units' states the host stages at once, where they live on NVMe:
    with one of them reading, computing and writing take turns. ``moves`` is the most that is on
    the device at once of what streams: schedules move blocks, but ZeRO-Infinity fetches a block
    parameter by parameter, and its device memory is counted so.
    """

    weights: Home
    gradients: Home
    states: Home
    checkpoints: Home
    step_in_backward: bool = False
    state_buffers: int = 1
    moves: Literal["block", "parameter"] = "block"

    @property
    def used(self) -> frozenset[Home]:
        """Every home that anything has."""
        return frozenset((self.weights, self.gradients, self.states, self.checkpoints))


HOMES: Mapping[Method, Homes] = {
    Method.ADAMW: Homes(
        weights="device", gradients="device", states="device", checkpoints="device"
    ),
    Method.ZERO_OFFLOAD: Homes(
        weights="device", gradients="host", states="host", checkpoints="device"
    ),
    Method.ZERO_INFINITY: Homes(
        weights="nvme",
        gradients="nvme",
        states="nvme",
        checkpoints="host",
        moves="parameter",
    ),
    Method.FUYOU: Homes(
        weights="nvme",
        gradients="host",
        states="nvme",
        checkpoints="host",
        step_in_backward=True,
        state_buffers=3,
    ),
    Method.ROUNDPIPE: Homes(
        weights="host",
        gradients="host",
        states="host",
        checkpoints="host",
        step_in_backward=True,
    ),
}
"""ZeRO-Offload: arXiv:2101.06840, section 3. ZeRO-Infinity: arXiv:2104.07857, with DeepSpeed's
defaults, which stage optimizer states without reading or writing ahead. Fuyou: arXiv:2403.06504.
RoundPipe: arXiv:2604.27085 and its documentation (ITcarrot/RoundPipe, docs/UserGuide at 72992a8):
model state and the inputs of layers live on the host, a layer is on the device while it runs, and
the optimizer runs on the CPU. That it may update with gradients a step old is left out, so a step
is never predicted to be shorter than with that; nor are its several devices predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One way to train with gradients. A step reads microbatches x batch x sequence tokens."""

    method: Method = Method.ADAMW
    """Who decides what lives where and when it moves."""
    batch: int = 1
    """Sequences in one microbatch."""
    sequence: int = 2048
    """Tokens in one sequence."""
    microbatches: int = 1
    """Microbatches whose gradients are summed before the optimizer's step."""
    checkpointing: bool = True
    """Keep only the input of each block and compute the rest again in the backward pass."""
    attention: AttentionKind = "fused"
    """'eager' computes attention operator by operator and stores every score."""
    dtype: Dtype = Dtype.FP16
    """Format of weights, gradients and activations; master weights and moments are fp32."""
    num_slots: int = 2
    """Device buffers for blocks that do not stay there."""

    def __post_init__(self) -> None:
        for field in ("batch", "sequence", "microbatches", "num_slots"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{field} must be a whole number >= 1; got {value!r}")
        choices = (
            ("method", tuple(Method)),
            ("attention", get_args(AttentionKind)),
            ("dtype", (Dtype.FP16, Dtype.BF16)),
        )
        for field, allowed in choices:
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"{field} must be one of {', '.join(allowed)}; got {getattr(self, field)!r}"
                )
        object.__setattr__(self, "method", Method(self.method))
        object.__setattr__(self, "dtype", Dtype(self.dtype))
        if self.microbatches > 1 and self.homes.gradients == "nvme":
            raise ValueError(
                f"method={self.method}: gradients on NVMe are not summed over microbatches here; "
                f"use microbatches=1 and a larger batch; got {self.microbatches}"
            )
        if self.homes.checkpoints == "host" and not self.checkpointing:
            raise ValueError(
                f"method={self.method}: the host keeps the inputs of blocks, not all activations; "
                "use checkpointing"
            )

    @property
    def homes(self) -> Homes:
        """Where the method keeps things."""
        return HOMES[self.method]

    @property
    def tokens_per_step(self) -> int:
        return self.microbatches * self.batch * self.sequence

    @property
    def flops_per_parameter_token(self) -> int:
        """Forward 2 and backward 4, and 2 again where activations are computed twice."""
        return 8 if self.checkpointing else 6
