"""Recipe and plan: what is computed, and where and when it is computed.

A recipe fixes the bits; a plan fixes only placement and order. Every plan gives the bits of the
`resident` policy with the same recipe (DESIGN 3). `zo2sim.plan.refusals` lists what cannot be
combined.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from zo2sim.dtypes import Dtype
from zo2sim.plan.policy import Policy

Noise = Literal["gaussian", "rademacher", "torch"]
Perturbation = Literal["scratch", "in_place"]
Reference = Literal["none", "mezo", "zo2"]
Pinning = Literal["auto", "exact", "rounded", "pageable", "staged"]
Tier = Literal["ram", "nvme"]
Placement = Literal["ring", "whole", "sliced"]
FLOATS = (Dtype.FP32, Dtype.FP16, Dtype.BF16)
"""Formats that a device computes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What fixes the bits of a run. A step reads microbatches x batch x sequence tokens."""

    batch: int = 1
    """Sequences in one microbatch."""
    sequence: int = 2048
    """Tokens in one sequence."""
    microbatches: int = 1
    """Microbatches per step: more work per upload (gradient accumulation)."""
    samples: int = 1
    """Noise directions per step; they share the step's data."""
    trainable: str = "all"
    """'all'; 'lora:R': adapters of rank R on every linear layer of a block; or 'scales': those of
    what is stored in an integer format (QZO, arXiv:2505.13430)."""
    storage_dtype: Dtype = Dtype.FP16
    """Format of the master weights; of frozen linear layers in blocks alone where it is int8, int4
    or int4_asym, and then all else has the compute dtype."""
    wire_dtype: Dtype = Dtype.FP16
    """Format in which a block is uploaded; narrower than storage with host_update only. An integer
    storage dtype travels as it is."""
    compute_dtype: Dtype = Dtype.FP16
    """Format of the perturbed weights and the activations."""
    noise: Noise = "gaussian"
    """Distribution of z; 'torch' is MeZO's own generator."""
    perturbation: Perturbation = "scratch"
    """'scratch' builds W+ and W- beside theta; 'in_place' changes theta as MeZO does."""
    reference: Reference = "none"
    """Whose published arithmetic a step has to the last bit, with torch noise in place."""

    def __post_init__(self) -> None:
        _check_counts(self, "batch", "sequence", "microbatches", "samples")
        _check_choice(self, "noise", get_args(Noise))
        _check_choice(self, "perturbation", get_args(Perturbation))
        _check_choice(self, "reference", get_args(Reference))
        for field in ("storage_dtype", "wire_dtype", "compute_dtype"):
            if not isinstance(getattr(self, field), Dtype):
                raise ValueError(f"{field} must be a Dtype; got {getattr(self, field)!r}")
        if self.compute_dtype not in FLOATS:
            raise ValueError(
                "compute_dtype must be fp32, fp16 or bf16 (fp8 is a wire format, integers are "
                f"storage formats); got {self.compute_dtype}"
            )
        if self.storage_dtype.is_integer and self.wire_dtype is not Dtype.FP8:
            object.__setattr__(self, "wire_dtype", self.storage_dtype)
        _ = self.lora_rank

    @property
    def lora_rank(self) -> int | None:
        """Rank of the adapters, or None where there are none."""
        if self.trainable in ("all", "scales"):
            return None
        prefix, _, rank = str(self.trainable).partition(":")
        if prefix != "lora" or not rank.isdecimal() or int(rank) < 1:
            raise ValueError(
                "trainable must be 'all', 'scales', or 'lora:R' with a rank R >= 1; "
                f"got {self.trainable!r}"
            )
        return int(rank)

    @property
    def trains_scales(self) -> bool:
        """Scales of integer formats are trained, and nothing else."""
        return self.trainable == "scales"

    @property
    def frozen_blocks(self) -> bool:
        """Blocks never change: what trains are adapters or scales, which live with the head."""
        return self.trainable != "all"

    @property
    def plain_dtype(self) -> Dtype:
        """Format of what an integer storage dtype does not encode; else the storage dtype."""
        return self.compute_dtype if self.storage_dtype.is_integer else self.storage_dtype

    @property
    def recoded(self) -> bool:
        """A block changes its format on the way to the device (the wire codec)."""
        return self.wire_dtype is not self.storage_dtype

    @property
    def tokens_per_step(self) -> int:
        """Tokens read from the data in one step."""
        return self.microbatches * self.batch * self.sequence

    def without_load(self, plan: "Plan") -> "Recipe":
        """The recipe with the least data in a step that the plan takes: recipes that differ in
        nothing else have one program. Of several devices that of several samples is another one."""
        samples = min(self.samples, 2) if plan.devices > 1 else 1
        return replace(self, batch=1, sequence=1, microbatches=plan.lane_parts, samples=samples)

    @property
    def num_lanes(self) -> int:
        """Forward passes per step: sign x sample x microbatch."""
        return 2 * self.samples * self.microbatches


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where and when: nothing in here changes a bit of the result."""

    policy: Policy = Policy.ZO2
    """Who decides the order of the operations."""
    num_slots: int = 2
    """Device buffers for streamed blocks: prefetch depth + 1."""
    scratch_copies: int = 1
    """1: W+ then W- in one buffer; 2: both at once, from one draw of the noise."""
    write_back_every: int = 1
    """Each block is downloaded every k-th step; the device replays records in between."""
    resident_blocks: int = 0
    """Blocks that stay on the device, evenly spread."""
    pinning: Pinning = "auto"
    """Host weights: 'exact' or 'rounded' (to powers of two, as PyTorch does) page-locked memory;
    'pageable', which one thread of the driver copies; or 'staged', pageable memory that threads
    copy through page-locked buffers of their own (predicted, not executed). 'auto' becomes rounded
    for the published code, exact otherwise."""
    tier: Tier = "ram"
    """Where the streamed blocks live."""
    overlap: bool = True
    """Off: no two operations at once (ablation of the paper's dynamic scheduler)."""
    reuse_slots: bool = True
    """Off: a fresh allocation per upload (ablation of the paper's reusable memory)."""
    deferred_update: bool = True
    """Off: the update takes a trip of its own (ablation of the paper's deferred update)."""
    devices: int = 1
    """Devices of one process; slots are those of each of them."""
    placement: Placement = "ring"
    """What several devices share: 'ring' deals blocks over them, and lanes go from one to the
    next; 'whole' deals lanes, and each device uploads every block; 'sliced' deals lanes, and each
    uploads and updates a slice of every block, which the others gather."""
    lane_groups: int = 1
    """Groups of microbatches that the lanes of a sign form on a ring: each is on one device while
    others are elsewhere."""

    def __post_init__(self) -> None:
        _check_counts(self, "num_slots", "write_back_every", "devices", "lane_groups")
        _check_choice(self, "policy", tuple(Policy))
        _check_choice(self, "pinning", get_args(Pinning))
        _check_choice(self, "tier", get_args(Tier))
        _check_choice(self, "placement", get_args(Placement))
        if self.pinning == "auto":
            rounded = self.policy.traits.published
            object.__setattr__(self, "pinning", "rounded" if rounded else "exact")
        for field in ("overlap", "reuse_slots", "deferred_update"):
            if not isinstance(getattr(self, field), bool):
                raise ValueError(f"{field} must be true or false; got {getattr(self, field)!r}")
        if not _is_int(self.scratch_copies) or self.scratch_copies not in (1, 2):
            raise ValueError(f"scratch_copies must be 1 or 2; got {self.scratch_copies!r}")
        if not _is_int(self.resident_blocks) or self.resident_blocks < 0:
            raise ValueError(
                f"resident_blocks must be a whole number >= 0; got {self.resident_blocks!r}"
            )

    @property
    def lane_parts(self) -> int:
        """Parts into which microbatches are divided; none may be empty.

        Where devices take lanes, they have a sign each if their number is even.
        """
        if self.placement == "ring":
            return self.lane_groups
        return self.devices // 2 if self.devices % 2 == 0 else self.devices

    @property
    def overlaps(self) -> bool:
        """Copies run while the stream that computes does."""
        return self.overlap and self.policy.traits.overlaps

    @property
    def defers(self) -> bool:
        """An update waits for its block's next visit, and has no trip of its own."""
        return self.deferred_update and self.policy.traits.defers


def of_policy(plan: Plan, recipe: Recipe) -> Recipe:
    """The recipe as the policy has it: the published code knows one kind of noise, in place."""
    if plan.policy.traits.published:
        return replace(recipe, noise="torch", perturbation="in_place")
    return recipe


def published_code(plan: Plan, recipe: Recipe) -> Literal["zo2", "mezo"] | None:
    """Whose published code the pair stands for, or None for this project's runtime."""
    if plan.policy.traits.published:
        return "zo2"
    if not plan.policy.traits.streams and recipe.perturbation == "in_place":
        return "mezo"
    return None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_counts(owner: object, *fields: str) -> None:
    for field in fields:
        value = getattr(owner, field)
        if not _is_int(value) or value < 1:
            raise ValueError(f"{field} must be a whole number >= 1; got {value!r}")


def _check_choice(owner: object, field: str, choices: tuple[object, ...]) -> None:
    value = getattr(owner, field)
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(map(str, choices))}; got {value!r}")
