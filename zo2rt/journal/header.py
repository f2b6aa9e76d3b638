"""The header: all that must be the same for a journal to give the same weights again, and for the
forwards of a run that goes on to read what they read before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import inf
from typing import Any

import numpy as np
import torch

from zo2rt.journal.chain import FIRST, Position, canonical, digest
from zo2rt.model.identity import Forward

_SHOWN = 5  # differences that an error message spells out
_THREADS = (
    " (PyTorch's threads per operator, which sums depend on; torchrun starts ranks with one each "
    "unless OMP_NUM_THREADS says how many: set that, or call torch.set_num_threads, as it was)"
)
_NO_BITS = ("plan",)  # recorded for the reader; a plan changes no bit (DESIGN 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterEntry:
    """A parameter: ``p`` is its noise counter word, the index in `named_parameters()`.

    ``threshold`` is Sparse-MeZO's; infinity where every weight is trained.
    """

    p: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    group: str
    threshold: float = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Learning rate and weight decay that a parameter group starts with."""

    name: str
    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        for field in ("lr", "weight_decay"):  # 1 and 1.0 are the same setting
            object.__setattr__(self, field, float(getattr(self, field)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What else the bits depend on: see `zo2rt.journal.header`."""

    torch: str
    numpy: str
    threads: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A run, without its weights. ``recipe`` and ``plan`` are the text of the plan file.

    ``lr_schedule`` and ``decay_rule`` are texts that differ when the rules differ, for example
    ``linear warmup=0 steps=1000`` and ``no decay for vectors, version 1``.
    """

    recipe: str
    plan: str
    seed: int
    noise: str
    noise_version: int
    stochastic_rounding: bool
    lr_schedule: str
    decay_rule: str
    groups: tuple[Group, ...]
    parameters: tuple[ParameterEntry, ...]
    forward: Forward
    environment: Environment

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names):
            raise ValueError(f"names of parameter groups must differ; got {names}")
        order = [entry.p for entry in self.parameters]
        if order != sorted(set(order)):
            raise ValueError(f"p of the parameters must increase; got {order}")
        for entry in self.parameters:
            if entry.group not in names:
                raise ValueError(
                    f"parameter {entry.name}: group must be one of {names}; got {entry.group!r}"
                )

    @property
    def group_names(self) -> tuple[str, ...]:
        return tuple(group.name for group in self.groups)

    @property
    def start(self) -> Position:
        """Before the first step; its digest covers the whole header."""
        return Position(step=0, sha256=digest(FIRST, canonical(to_json(self))))


def check_same(journal: Header, run: Header, *, where: str) -> None:
    """Raise ``ValueError`` naming all that differs, when ``run`` must not replay ``journal``.

    Another machine or library version is refused too: updates would give the same bits, but the
    forwards of later steps might not.
    """
    differing = [line for field, line in _differences(journal, run) if field not in _NO_BITS]
    if differing:
        more = len(differing) - _SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        raise ValueError(
            f"{where}: the run must be the one that the journal was written by; "
            f"{'; '.join(differing[:_SHOWN])}{rest}; "
            f"go on with the journal's settings, or start a new run in another folder"
        )


def to_json(value: object) -> Any:
    """Plain values of a frozen dataclass; floats as hexadecimal text."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value.hex() if isinstance(value, float) else value


def from_json(value: Mapping[str, Any]) -> Header:
    """The header; raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is none."""
    real = float.fromhex
    groups = tuple(
        Group(name=g["name"], lr=real(g["lr"]), weight_decay=real(g["weight_decay"]))
        for g in value["groups"]
    )
    parameters = tuple(
        ParameterEntry(**{**p, "shape": tuple(p["shape"]), "threshold": real(p["threshold"])})
        for p in value["parameters"]
    )
    own = {"groups": groups, "parameters": parameters, "forward": Forward(**value["forward"])}
    environment = Environment(**value["environment"])
    return Header(**{**value, **own, "environment": environment})


def _differences(journal: Header, run: Header) -> Iterator[tuple[str, str]]:
    """(field of the header, 'name is X in the journal and Y in this run') for all that differs."""
    ours, theirs = dict(_leaves("", journal)), dict(_leaves("", run))
    for name in dict.fromkeys((*ours, *theirs)):
        a, b = ours.get(name, "absent"), theirs.get(name, "absent")
        if a != b:
            field = name.partition(".")[0].partition("[")[0]
            hint = _THREADS if name == "environment.threads" else ""
            yield field, f"{name} is {a!r} in the journal and {b!r} in this run{hint}"


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    if is_dataclass(value):
        for field in fields(value):
            inner = f"{name}.{field.name}" if name else field.name
            yield from _leaves(inner, getattr(value, field.name))
    elif isinstance(value, tuple) and any(map(is_dataclass, value)):
        for number, item in enumerate(value):
            yield from _leaves(f"{name}[{number}]", item)
    else:
        yield name, value


def environment(device: torch.device) -> Environment:
    """Versions, intra-op threads and the kind of device; equal ones give equal bits (DESIGN 3)."""
    return Environment(
        torch=torch.__version__,
        numpy=np.__version__,
        threads=torch.get_num_threads(),
        device=_device_name(device),
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
