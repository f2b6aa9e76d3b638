"""Recipe and plan: what is computed, and where and when it is computed.

A recipe fixes the bits; a plan fixes only placement and order. Every plan gives the bits of the
`resident` policy with the same recipe (DESIGN 3). `zo2sim.refusals` lists what cannot be combined.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from zo2sim.dtypes import Dtype

Noise = Literal["gaussian", "rademacher", "torch"]
Perturbation = Literal["scratch", "in_place"]
Pinning = Literal["auto", "exact", "rounded", "pageable"]
Tier = Literal["ram", "nvme"]


class Policy(StrEnum):
    """Who decides the order of the operations (DESIGN 4)."""

    RESIDENT = "resident"
    NAIVE = "naive"
    DUAL = "dual"
    ZO2 = "zo2"
    ZO2_REFERENCE = "zo2_reference"
    HOST_UPDATE = "host_update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What fixes the bits of a run.

    ``batch`` is the number of sequences in one microbatch, so a step reads
    ``microbatches * batch * sequence`` tokens; ``samples`` noise directions share them.
    ``trainable`` is ``all`` or ``lora:r`` with rank r (adapters on every linear layer of a block).
    """

    batch: int = 1
    sequence: int = 2048
    microbatches: int = 1
    samples: int = 1
    trainable: str = "all"
    storage_dtype: Dtype = Dtype.FP16
    wire_dtype: Dtype = Dtype.FP16
    compute_dtype: Dtype = Dtype.FP16
    noise: Noise = "gaussian"
    perturbation: Perturbation = "scratch"

    def __post_init__(self) -> None:
        _check_counts(self, "batch", "sequence", "microbatches", "samples")
        _check_choice(self, "noise", get_args(Noise))
        _check_choice(self, "perturbation", get_args(Perturbation))
        for field in ("storage_dtype", "wire_dtype", "compute_dtype"):
            _check_choice(self, field, tuple(Dtype))
        if self.compute_dtype is Dtype.FP8:
            raise ValueError(
                "compute_dtype must be fp32, fp16 or bf16 (fp8 is a wire format); got fp8"
            )
        _ = self.lora_rank

    @property
    def lora_rank(self) -> int | None:
        """Rank of the adapters, or None when every weight is trained."""
        if self.trainable == "all":
            return None
        prefix, _, rank = self.trainable.partition(":")
        if prefix != "lora" or not rank.isdecimal() or int(rank) < 1:
            raise ValueError(
                f"trainable must be 'all' or 'lora:R' with a rank R >= 1; got {self.trainable!r}"
            )
        return int(rank)

    @property
    def tokens_per_step(self) -> int:
        """Tokens read from the data in one step."""
        return self.microbatches * self.batch * self.sequence

    @property
    def num_lanes(self) -> int:
        """Forward passes per step: sign x sample x microbatch."""
        return 2 * self.samples * self.microbatches


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where and when: nothing in here changes a bit of the result.

    ``num_slots`` device buffers for streamed blocks (prefetch depth + 1); ``scratch_copies`` 1
    (W+ then W-) or 2 (both at once); every block is written back each ``write_back_every`` steps;
    ``resident_blocks`` blocks, evenly spread, stay on the device. ``pinning`` of host weights is
    ``exact``, ``rounded`` (PyTorch's allocator: powers of two) or ``pageable``; ``auto`` becomes
    what the policy stands for: pageable for the published code, exact otherwise. The last three
    switch the features of the ZO2 paper (arXiv:2503.12668) off, for ablations.
    """

    policy: Policy = Policy.ZO2
    num_slots: int = 2
    scratch_copies: int = 1
    write_back_every: int = 1
    resident_blocks: int = 0
    pinning: Pinning = "auto"
    tier: Tier = "ram"
    overlap: bool = True
    reuse_slots: bool = True
    deferred_update: bool = True

    def __post_init__(self) -> None:
        _check_counts(self, "num_slots", "write_back_every")
        _check_choice(self, "policy", tuple(Policy))
        _check_choice(self, "pinning", get_args(Pinning))
        _check_choice(self, "tier", get_args(Tier))
        if self.pinning == "auto":
            published = self.policy is Policy.ZO2_REFERENCE
            object.__setattr__(self, "pinning", "pageable" if published else "exact")
        if self.scratch_copies not in (1, 2):
            raise ValueError(f"scratch_copies must be 1 or 2; got {self.scratch_copies!r}")
        if not _is_int(self.resident_blocks) or self.resident_blocks < 0:
            raise ValueError(
                f"resident_blocks must be a whole number >= 0; got {self.resident_blocks!r}"
            )


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
