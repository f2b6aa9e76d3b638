"""Machines: what a device, its link, its host and its NVMe can do, and who says so.

Every number is a `Quantity` in SI base units with the unit in its name, and carries its
provenance (DESIGN 9). `zo2sim.machines.file` reads and writes them as TOML. A dotted key such as
``link.h2d_bytes_per_s`` names one number; ``device.flops_per_s.bf16`` and
``device.bf16_flops_per_s`` name the same one.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from zo2sim.checks import check_choice, check_text, positive
from zo2sim.dtypes import Dtype
from zo2sim.machines.evidence import Calibrated, Validation
from zo2sim.machines.keys import KERNEL_TABLES, check_plausible
from zo2sim.plan.choices import Noise

Provenance = Literal["datasheet", "measured", "fitted", "assumed"]
Architecture = Literal["ampere", "hopper", "ada", "volta", "turing", "host"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A positive number with who says so; ``low`` and ``high`` are its 95 % interval if known."""

    value: float
    provenance: Provenance
    source: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for field in ("value", "low", "high"):
            if field == "value" or getattr(self, field) is not None:
                object.__setattr__(self, field, positive(field, getattr(self, field)))
        check_choice("provenance", self.provenance, get_args(Provenance))
        check_text("source", self.source)
        low, high = self.interval
        if not low <= self.value <= high:
            raise ValueError(
                f"low <= value <= high must hold; got {low:g}, {self.value:g}, {high:g}"
            )

    @property
    def interval(self) -> tuple[float, float]:
        """``low`` and ``high``; the value itself for an end that is not known."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What computes. Rates of a format that the card lacks are None.

    ``context_bytes`` is what the driver's context and the libraries occupy; ``launch_s`` is the
    time per kernel launch when the host runs ahead; ``alloc_s`` one fresh allocation and its
    release. Noise rates are those of fused generation and use, limited by arithmetic alone.
    ``kernel_table`` names the measured kernel times that apply, if any do; without one,
    ``gemm_flops_per_s`` is what a product of matrices of 8192 x 8192 reaches in half
    precision, where somebody measured it.
    """

    name: str
    memory_bytes: Quantity
    memory_bytes_per_s: Quantity
    num_sms: Quantity
    context_bytes: Quantity
    launch_s: Quantity
    alloc_s: Quantity
    fp32_flops_per_s: Quantity
    fp16_flops_per_s: Quantity | None = None
    bf16_flops_per_s: Quantity | None = None
    gemm_flops_per_s: Quantity | None = None
    gaussian_noise_elements_per_s: Quantity
    rademacher_noise_elements_per_s: Quantity
    torch_noise_elements_per_s: Quantity
    kernel_table: str | None = None

    def __post_init__(self) -> None:
        check_text("device.name", self.name)
        if self.kernel_table is not None:
            check_choice("device.kernel_table", self.kernel_table, KERNEL_TABLES)
        _check_part("device", self)

    def flops_per_s(self, dtype: Dtype) -> Quantity:
        """Peak rate of dense matrix products; ``ValueError`` when the card lacks the format."""
        rate = self._flops.get(dtype)
        if rate is None:
            have = " or ".join(d for d, known in self._flops.items() if known is not None)
            raise ValueError(f"{self.name} lacks {dtype} arithmetic; use {have}")
        return rate

    @property
    def half_flops_per_s(self) -> Quantity:
        """The rate of bf16, of fp16 where the card lacks bf16, of fp32 where it lacks both."""
        rates = (self.bf16_flops_per_s, self.fp16_flops_per_s)
        return next((rate for rate in rates if rate is not None), self.fp32_flops_per_s)

    def noise_elements_per_s(self, noise: Noise) -> Quantity:
        """Elements per second of fused noise generation and use."""
        return {
            "gaussian": self.gaussian_noise_elements_per_s,
            "rademacher": self.rademacher_noise_elements_per_s,
            "torch": self.torch_noise_elements_per_s,
        }[noise]

    @property
    def _flops(self) -> dict[Dtype, Quantity | None]:
        return {
            Dtype.BF16: self.bf16_flops_per_s,
            Dtype.FP16: self.fp16_flops_per_s,
            Dtype.FP32: self.fp32_flops_per_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Copies between host and device: a direction alone, and (``both_``) with the other one busy.

    A copy of n bytes alone takes latency_s + (half_size_bytes + n) / rate: latency apart, a copy
    of ``half_size_bytes`` reaches half of the rate.

    ``limit_bytes_per_s`` is there where a throttle or a quota sets the link's pace: what is let
    through each way, in every state. The numbers are those that are reached with it: a rate that
    equals it is the limit's, a slower one the link's own. Where cores are the device, the limit
    hides what starting a copy takes, and latency and ramp are the limit's too.
    """

    latency_s: Quantity
    half_size_bytes: Quantity
    h2d_bytes_per_s: Quantity
    d2h_bytes_per_s: Quantity
    both_h2d_bytes_per_s: Quantity
    both_d2h_bytes_per_s: Quantity
    pageable_h2d_bytes_per_s: Quantity
    pageable_d2h_bytes_per_s: Quantity
    limit_bytes_per_s: Quantity | None = None

    def __post_init__(self) -> None:
        _check_part("link", self)
        known = dict(quantities_of(self))
        for rate, most, why in CEILINGS:
            if most in known and known[rate].value > known[most].value:
                raise ValueError(
                    f"link.{rate} must not exceed link.{most} ({why}); "
                    f"got {known[rate].value:g} and {known[most].value:g} B/s"
                )


_WAYS = ("h2d_bytes_per_s", "d2h_bytes_per_s")
CEILINGS = (
    *((f"both_{way}", way, "a direction is no faster with the other one busy") for way in _WAYS),
    *(
        (f"{state}{way}", "limit_bytes_per_s", "no more is let through")
        for state in ("", "both_", "pageable_")
        for way in _WAYS
    ),
)
"""Rates of a link with the one that each must not exceed, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Memory and cores beside the device. Update and encode rates are those of one core.

    ``encode_bytes_per_s`` counts the bytes read; ``stream_handover_s`` is the time from the end
    of one thread's work to the start of the next thread's.
    """

    memory_bytes: Quantity
    dram_bytes_per_s: Quantity
    num_cores: Quantity
    gaussian_update_elements_per_s: Quantity
    rademacher_update_elements_per_s: Quantity
    encode_bytes_per_s: Quantity
    fsync_s: Quantity
    stream_handover_s: Quantity

    def __post_init__(self) -> None:
        _check_part("host", self)

    def update_elements_per_s(self, noise: Noise) -> Quantity:
        """Elements per second and core of theta + c z, z generated on the way."""
        if noise == "torch":
            raise ValueError(
                "noise must be gaussian or rademacher for an update on the host; got torch, "
                "whose values depend on the device that draws them"
            )
        if noise == "gaussian":
            return self.gaussian_update_elements_per_s
        return self.rademacher_update_elements_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The host's own cores as the device: what one core takes, in fp32, operator by operator.

    Every operation takes the sum of its amounts, each divided by a rate or multiplied by a time
    (`zo2sim.cost.cpu` counts them; `analysis.fits.law` fits them). ``launch_s`` is an operator
    in a block, ``outer_launch_s`` one of head or tail, between which a model does more in Python;
    ``block_s`` is what a block's modules do in Python beside their operators, ``lane_start_s`` a
    lane's thread and all that the model does in Python before its first block,
    ``lane_end_s`` what the loss takes but its logits; ``cold_s`` is what a block's forward loses
    where its core slept before it; ``pass_s`` and ``build_s`` begin an update and the weights of
    one sign, when nothing of it is in a cache;
    ``spilled_elements_per_s`` is what weights cost that a core built and no longer has near,
    ``beside_s`` what an operation loses to a copy that starts beside it;
    ``call_s`` is one noise kernel on one tensor; ``gap_s`` the time from the end of an operation to
    the next one of the thread that computes, ``wake_s`` what a thread takes to wake up that waited
    for another one, ``copy_start_s`` what a copy's takes beside lanes; the turnarounds what a step
    has between its loss and the next step's first operation; ``trip_s`` what the first operation of
    a trip loses to the host, which still enqueues the rest, where a step has several trips;
    ``throttle_s`` what the end of a copy through a limited link takes.
    ``misfit_ratio`` is the relative spread (one standard deviation) of runs' steps around what a
    fit without them predicts, ``jitter_ratio`` that of the same run repeated, and
    ``together_ratio`` by how much the errors of constants cancel in a step
    (`analysis.fits.machine`); ``large_reference_s`` and ``small_reference_s`` are the
    steps of the runs that all others took turns with: they tell how the machine drifts.
    """

    gemm_flops_per_s: Quantity
    gemm_weight_elements_per_s: Quantity
    gemm_output_elements_per_s: Quantity
    attention_flops_per_s: Quantity
    softmax_elements_per_s: Quantity
    elementwise_bytes_per_s: Quantity
    loss_elements_per_s: Quantity
    launch_s: Quantity
    outer_launch_s: Quantity
    block_s: Quantity
    cold_s: Quantity
    lane_start_s: Quantity
    lane_end_s: Quantity
    gaussian_perturb_elements_per_s: Quantity
    rademacher_perturb_elements_per_s: Quantity
    gaussian_update_elements_per_s: Quantity
    rademacher_update_elements_per_s: Quantity
    pass_elements_per_s: Quantity
    touched_elements_per_s: Quantity
    round_elements_per_s: Quantity
    encode_plain_elements_per_s: Quantity
    encode_scaled_elements_per_s: Quantity
    decode_plain_elements_per_s: Quantity
    decode_scaled_elements_per_s: Quantity
    spilled_elements_per_s: Quantity
    build_s: Quantity
    pass_s: Quantity
    call_s: Quantity
    beside_s: Quantity
    gap_s: Quantity
    wake_s: Quantity
    copy_start_s: Quantity
    loss_s: Quantity
    throttle_s: Quantity
    turnaround_s: Quantity
    turnaround_operation_s: Quantity
    turnaround_lane_s: Quantity
    trip_s: Quantity
    misfit_ratio: Quantity
    jitter_ratio: Quantity
    together_ratio: Quantity
    large_reference_s: Quantity
    small_reference_s: Quantity

    def __post_init__(self) -> None:
        _check_part("cpu", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvme:
    """Storage below the host's memory."""

    capacity_bytes: Quantity
    read_bytes_per_s: Quantity
    write_bytes_per_s: Quantity
    latency_s: Quantity

    def __post_init__(self) -> None:
        _check_part("nvme", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One device, its link and its host; ``nvme`` is None where there is none.

    ``cpu`` is there where the host's own cores are the device, and have been calibrated.
    ``calibrated`` says for which sizes, ``validation`` how well it predicted real runs.
    """

    name: str
    description: str
    architecture: Architecture
    device: Device
    link: Link
    host: Host
    nvme: Nvme | None = None
    cpu: Cpu | None = None
    calibrated: Calibrated | None = None
    validation: Validation | None = None

    def __post_init__(self) -> None:
        check_text("machine.name", self.name)
        check_text("machine.description", self.description)
        check_choice("machine.class", self.architecture, get_args(Architecture))

    @property
    def quantities(self) -> dict[str, Quantity]:
        """Every number that this machine has, by dotted key."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {
            f"{name}.{field}": quantity
            for name, part in parts.items()
            for field, quantity in quantities_of(part)
        }

    def quantity(self, key: str) -> Quantity:
        """The number under a dotted key."""
        part, _, name = key.partition(".")
        return getattr(getattr(self, part), name)

    def is_limited(self, key: str) -> bool:
        """Whether a limit on the link has set the number under a dotted key (`Link`)."""
        limit = self.link.limit_bytes_per_s
        if limit is None or not key.startswith("link."):
            return False
        if key.endswith("_bytes_per_s"):
            return self.quantity(key).value == limit.value
        return self.cpu is not None

    @property
    def constants(self) -> str:
        """Identifies every number but amounts of memory: 16 hexadecimal digits of SHA-256."""
        numbers = {k: (q.value, q.low, q.high) for k, q in self.quantities.items() if k not in ROOM}
        return hashlib.sha256(repr(sorted(numbers.items())).encode()).hexdigest()[:16]

    @property
    def hold_out(self) -> Validation | None:
        """The validation of these very constants; None where they were changed since."""
        found = self.validation
        return found if found is not None and found.constants == self.constants else None


ROOM = ("device.memory_bytes", "host.memory_bytes", "nvme.capacity_bytes")
"""Amounts that decide what fits, and no time."""

PARTS: dict[str, type] = {"device": Device, "link": Link, "host": Host, "nvme": Nvme, "cpu": Cpu}
"""The sections of a machine file beside [machine]; the last two may be absent."""


def quantities_of(part: Any) -> Iterator[tuple[str, Quantity]]:
    """The numbers of one section of a machine by name; none where it is absent."""
    for field in dataclasses.fields(part) if part is not None else ():
        value = getattr(part, field.name)
        if isinstance(value, Quantity):
            yield field.name, value


def _check_part(name: str, part: Any) -> None:
    for field, quantity in quantities_of(part):
        check_plausible(f"{name}.{field}", quantity.value)
