"""Machines: what a device, its link, its host and its NVMe can do, and who says so.

Every number is a `Quantity` in SI base units with the unit in its name, and carries its
provenance (DESIGN 9). `zo2sim.machines.file` reads and writes them as TOML. A dotted key such as
``link.h2d_bytes_per_s`` names one number; ``device.flops_per_s.bf16`` and
``device.bf16_flops_per_s`` name the same one.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Literal, get_args

from zo2sim.checks import check_choice, check_text
from zo2sim.dtypes import Dtype
from zo2sim.machines.cpu import Cpu
from zo2sim.machines.evidence import Calibrated, Validation
from zo2sim.machines.node import Node
from zo2sim.machines.quantity import PASS_RATIO, Quantity, check_part, quantities_of, within
from zo2sim.plan.choices import Noise

Architecture = Literal["volta", "turing", "ampere", "ada", "hopper", "blackwell", "host"]

KERNEL_TABLES = (
    "a100-sxm-80gb",
    "h100-sxm-80gb",
    "h200-sxm-141gb",
    "l40s-48gb",
    "rtx-4090-24gb",
    "rtx-pro-6000-96gb",
)
"""Devices whose matrix kernels were measured shape by shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What computes. Rates of a format that the card lacks are None.

    ``context_bytes`` is what the driver's context and the libraries occupy; ``launch_s`` is what
    the host takes per kernel that it launches, dispatch and Python included; ``alloc_s`` one fresh
    allocation and its release. Noise rates are those of fused generation and use, limited by
    arithmetic alone. ``pass_ratio`` is the share of ``memory_bytes_per_s`` that element-wise
    kernels reach.

    ``kernel_table`` names the measured kernel times that apply, if any do. ``gemm_flops_per_s`` is
    what a product of matrices of 8192 x 8192 of random numbers reaches in half precision, in a
    short run; ``sustained_ratio`` the share of it that is left in long work, where power and heat
    lower the clock and products have the shapes of a model; ``fp32_gemm_flops_per_s`` what the
    product reaches in fp32. What is not known is as in the table, or as the class has it.
    """

    name: str
    memory_bytes: Quantity = field(metadata=within(1e6, 1e13))
    memory_bytes_per_s: Quantity = field(metadata=within(3e9, 1e14))
    num_sms: Quantity = field(metadata=within(1, 1e4))
    context_bytes: Quantity = field(metadata=within(1e3, 1e11))
    launch_s: Quantity = field(metadata=within(1e-9, 1e-1))
    alloc_s: Quantity = field(metadata=within(1e-9, 1e1))
    fp32_flops_per_s: Quantity = field(metadata=within(1e8, 1e17))
    fp16_flops_per_s: Quantity | None = field(default=None, metadata=within(1e8, 1e17))
    bf16_flops_per_s: Quantity | None = field(default=None, metadata=within(1e8, 1e17))
    gemm_flops_per_s: Quantity | None = field(default=None, metadata=within(1e8, 1e17))
    sustained_ratio: Quantity | None = field(default=None, metadata=within(0.05, 1.5))
    fp32_gemm_flops_per_s: Quantity | None = field(default=None, metadata=within(1e8, 1e17))
    gaussian_noise_elements_per_s: Quantity = field(metadata=within(1e5, 1e15))
    rademacher_noise_elements_per_s: Quantity = field(metadata=within(1e5, 1e15))
    torch_noise_elements_per_s: Quantity = field(metadata=within(1e5, 1e15))
    pass_ratio: Quantity = field(default=PASS_RATIO, metadata=within(0.05, 1.5))
    kernel_table: str | None = None

    def __post_init__(self) -> None:
        check_text("device.name", self.name)
        if self.kernel_table is not None:
            check_choice("device.kernel_table", self.kernel_table, KERNEL_TABLES)
        check_part("device", self)

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

    @property
    def pass_bytes_per_s(self) -> float:
        """Bytes of its memory per second that element-wise kernels move."""
        return self.memory_bytes_per_s.value * self.pass_ratio.value

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
    of ``half_size_bytes`` reaches half of the rate. From ``pageable`` memory one thread copies,
    from ``staged`` memory several do, through page-locked buffers of their own.

    ``limit_bytes_per_s`` is there where a throttle or a quota sets the link's pace: what is let
    through each way, in every state. The numbers are those that are reached with it: a rate that
    equals it is the limit's, a slower one the link's own. Where cores are the device, the limit
    hides what starting a copy takes, and latency and ramp are the limit's too.
    """

    latency_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=1e-5))
    half_size_bytes: Quantity = field(metadata=within(1, 1e10))
    h2d_bytes_per_s: Quantity = field(metadata=within(1e6, 1e13, start_s=2e-10))
    d2h_bytes_per_s: Quantity = field(metadata=within(1e6, 1e13, start_s=2e-10))
    both_h2d_bytes_per_s: Quantity = field(metadata=within(1e6, 1e13, start_s=3e-10))
    both_d2h_bytes_per_s: Quantity = field(metadata=within(1e6, 1e13, start_s=3e-10))
    pageable_h2d_bytes_per_s: Quantity = field(metadata=within(1e6, 1e13, start_s=2e-10))
    pageable_d2h_bytes_per_s: Quantity = field(metadata=within(1e6, 1e13, start_s=2e-10))
    staged_h2d_bytes_per_s: Quantity | None = field(default=None, metadata=within(1e6, 1e13))
    staged_d2h_bytes_per_s: Quantity | None = field(default=None, metadata=within(1e6, 1e13))
    limit_bytes_per_s: Quantity | None = field(default=None, metadata=within(1e6, 1e13))

    def __post_init__(self) -> None:
        check_part("link", self)
        known = dict(quantities_of(self))
        for rate, most, why in CEILINGS:
            if {rate, most} <= known.keys() and known[rate].value > known[most].value:
                raise ValueError(
                    f"link.{rate} must not exceed link.{most} ({why}); "
                    f"got {known[rate].value:g} and {known[most].value:g} B/s"
                )


_WAYS = ("h2d_bytes_per_s", "d2h_bytes_per_s")
NOT_LOCKED = tuple((f"{state}{way}", way) for state in ("pageable_", "staged_") for way in _WAYS)
"""Rates of copies that pass through page-locked memory, with the rate of what they pass through."""
CEILINGS = (
    *((f"both_{way}", way, "a direction is no faster with the other one busy") for way in _WAYS),
    *(
        (rate, way, "no copy is faster than one from page-locked memory")
        for rate, way in NOT_LOCKED
    ),
    *(
        (f"{state}{way}", "limit_bytes_per_s", "no more is let through")
        for state in ("", "both_", "pageable_", "staged_")
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

    memory_bytes: Quantity = field(metadata=within(1e6, 1e14))
    dram_bytes_per_s: Quantity = field(metadata=within(1e8, 1e14, start_s=7e-11))
    num_cores: Quantity = field(metadata=within(1, 1e4))
    gaussian_update_elements_per_s: Quantity = field(metadata=within(1e5, 1e12, start_s=2e-9))
    rademacher_update_elements_per_s: Quantity = field(metadata=within(1e5, 1e12, start_s=4e-10))
    encode_bytes_per_s: Quantity = field(metadata=within(1e6, 1e12, start_s=5e-10))
    fsync_s: Quantity = field(metadata=within(1e-7, 1e1, start_s=1e-3))
    stream_handover_s: Quantity = field(metadata=within(1e-8, 1e-1, start_s=1e-4))

    def __post_init__(self) -> None:
        check_part("host", self)

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
class Nvme:
    """Storage below the host's memory."""

    capacity_bytes: Quantity = field(metadata=within(1e10, 1e16))
    read_bytes_per_s: Quantity = field(metadata=within(1e6, 1e12, start_s=1e-9))
    write_bytes_per_s: Quantity = field(metadata=within(1e6, 1e12, start_s=1e-9))
    latency_s: Quantity = field(metadata=within(1e-8, 1e-1, start_s=1e-4))

    def __post_init__(self) -> None:
        check_part("nvme", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One device, its link and its host; ``nvme`` is None where there is none.

    ``node`` is there where several such devices are in one computer; a plan for one device does not
    read it. ``cpu`` is there where the host's own cores are the device, and have been calibrated.
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
    node: Node | None = None
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

PARTS: dict[str, type] = {
    "device": Device,
    "link": Link,
    "host": Host,
    "nvme": Nvme,
    "cpu": Cpu,
    "node": Node,
}
"""The sections of a machine file beside [machine]; the last three may be absent."""
