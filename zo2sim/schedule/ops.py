"""The schedule: small frozen operations in issue order, predicted and executed; it exists once.

Three rules give a schedule its meaning:

1. operations on one track, a stream of one device, run one at a time, in list order;
2. an operation starts only after every operation in its ``after`` has finished; an edge that ends
   in ``^`` points at the operation of that name in the *previous* period;
3. nothing else happens: no hidden copy, no host synchronisation.

Edges point only backwards, so a schedule cannot deadlock; the constructor checks it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

HEAD = -1
"""Unit number of what runs before the blocks: embeddings and, when tied, the LM head's weight."""
TAIL = -2
"""Unit number of what runs after the blocks: final norm and LM head."""

_UNIT_NAMES = {HEAD: "head", TAIL: "tail"}


class Stream(StrEnum):
    """An order. What operations contend for is a resource, and belongs to the machine."""

    H2D = "h2d"
    COMPUTE = "compute"
    D2H = "d2h"
    HOST = "host"
    NVME_READ = "nvme_read"
    NVME_WRITE = "nvme_write"
    PEER = "peer"  # from other devices to this one


class Track(NamedTuple):
    """A stream of one device: the order that operations are in. The host's are device 0's."""

    device: int
    stream: Stream

    def __str__(self) -> str:
        return f"{self.stream}{_marked('%', self.device)}"


class Kind(StrEnum):
    """What an operation does; DESIGN 2 lists them. ``ALLOC`` is a fresh device allocation.

    ``SEND`` brings a group's activations to the device of the next unit, ``GATHER`` a block's
    slices to a device. ``BUILD`` makes W+ and W- ahead of a FORWARD that finds them.

    Those from ``BACKWARD`` on occur in first-order training only (`zo2sim.baselines`).
    """

    READ = "READ"
    ALLOC = "ALLOC"
    H2D = "H2D"
    UPDATE = "UPDATE"
    BUILD = "BUILD"
    FORWARD = "FORWARD"
    D2H = "D2H"
    WRITE = "WRITE"
    ENCODE = "ENCODE"
    HOST_UPDATE = "HOST_UPDATE"
    LOSS = "LOSS"
    JOURNAL = "JOURNAL"
    SEND = "SEND"
    GATHER = "GATHER"
    BACKWARD = "BACKWARD"
    GRADIENT_D2H = "GRADIENT_D2H"
    GRADIENT_WRITE = "GRADIENT_WRITE"
    SPILL = "SPILL"  # a checkpointed activation, device -> host
    RESTORE = "RESTORE"  # and back
    STATE_READ = "STATE_READ"  # master weights and moments, NVMe -> host
    STATE_WRITE = "STATE_WRITE"
    OPTIMIZE = "OPTIMIZE"
    HOST_OPTIMIZE = "HOST_OPTIMIZE"


FIRST_ORDER = (
    Kind.BACKWARD,
    Kind.GRADIENT_D2H,
    Kind.GRADIENT_WRITE,
    Kind.SPILL,
    Kind.RESTORE,
    Kind.STATE_READ,
    Kind.STATE_WRITE,
    Kind.OPTIMIZE,
    Kind.HOST_OPTIMIZE,
)
"""Kinds that back-propagation and its optimizers add."""

LETTERS = {
    Kind.READ: "R",
    Kind.ALLOC: "A",
    Kind.H2D: "H",
    Kind.UPDATE: "U",
    Kind.BUILD: "Z",
    Kind.FORWARD: "F",
    Kind.D2H: "D",
    Kind.WRITE: "W",
    Kind.ENCODE: "E",
    Kind.HOST_UPDATE: "C",
    Kind.LOSS: "L",
    Kind.JOURNAL: "J",
    Kind.SEND: "X",
    Kind.GATHER: "K",
    Kind.BACKWARD: "B",
    Kind.GRADIENT_D2H: "G",
    Kind.GRADIENT_WRITE: "V",
    Kind.SPILL: "S",
    Kind.RESTORE: "T",
    Kind.STATE_READ: "M",
    Kind.STATE_WRITE: "N",
    Kind.OPTIMIZE: "O",
    Kind.HOST_OPTIMIZE: "P",
}
"""One letter per kind: ``F3`` is the FORWARD of block 3, ``C3`` its update on the CPU."""


class BufferSpace(StrEnum):
    """Where a buffer lives and what it is for."""

    SLOT = "slot"  # device buffer that streamed blocks pass through
    SLICE = "slice"  # the part of a slot that its device uploads, updates and offloads
    RESIDENT = "resident"  # device weights of a unit that stays
    SCRATCH = "scratch"  # device buffer for W+ and W-
    ACTIVATIONS = "activations"  # device hidden states of a group's lanes
    RECORD = "record"  # projected gradients of one step
    HOST = "host"  # host weights of a block
    WIRE = "wire"  # host staging in the wire dtype
    STAGE_IN = "stage_in"  # host staging, NVMe to device
    STAGE_OUT = "stage_out"  # host staging, device to NVMe
    NVME = "nvme"  # NVMe weights of a block
    JOURNAL = "journal"
    GRADIENT = "gradient"  # device gradients of a unit
    HOST_GRADIENT = "host_gradient"
    NVME_GRADIENT = "nvme_gradient"
    CHECKPOINT = "checkpoint"  # device copy of what a block's backward pass starts from
    HOST_CHECKPOINT = "host_checkpoint"
    STATE = "state"  # device master weights and moments of an optimizer
    HOST_STATE = "host_state"
    STATE_STAGE = "state_stage"  # host staging of states that live on NVMe
    NVME_STATE = "nvme_state"


class Buffer(NamedTuple):
    """One thing that can be read or written; hazards are pairs of accesses to the same buffer.

    ``device`` has it, or uploads it from the host: there it tells one slice of a block from others.
    """

    space: BufferSpace
    number: int = 0
    device: int = 0

    def __str__(self) -> str:
        return f"{self.space}:{unit_name(self.number)}{_marked('%', self.device)}"


_track = lru_cache(maxsize=None)(Track)


def unit_name(unit: int) -> str:
    """``head``, ``tail`` or the block's number."""
    return _UNIT_NAMES.get(unit, str(unit))


def _marked(mark: str, number: int) -> str:
    """``%1``; nothing for the first one, which is all there is where there is one."""
    return f"{mark}{number}" if number else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation. Bytes and FLOPs derive from ``kind``, ``unit``, ``lanes`` and ``records``.

    ``step`` counts within the period, ``trip`` numbers the passes over the blocks within a step.
    ``lanes`` is ``+-`` (dual forward), ``+``, ``-``, ``0`` (unperturbed) or empty; ``group`` says
    which of them, where they go in groups.
    ``records`` is the number of journal records that an update applies; 0 makes it a no-op.
    ``track`` is the order that it belongs to.
    """

    kind: Kind
    stream: Stream
    device: int = 0
    group: int = 0
    unit: int | None = None
    step: int = 0
    trip: int = 0
    slot: int | None = None
    lanes: str = ""
    records: int = 0
    reads: tuple[Buffer, ...] = ()
    writes: tuple[Buffer, ...] = ()
    after: tuple[str, ...] = ()
    track: Track = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "track", _track(self.device, self.stream))
        if self.lanes not in ("", "+-", "+", "-", "0"):
            raise ValueError(
                f"{self.name}: lanes must be '', '+-', '+', '-' or '0'; got {self.lanes!r}"
            )
        if self.step < 0 or self.trip < 0 or self.records < 0:
            raise ValueError(
                f"{self.name}: step, trip and records must be >= 0; "
                f"got {self.step}, {self.trip}, {self.records}"
            )
        if self.device < 0 or self.group < 0:
            raise ValueError(
                f"{self.name}: device and group must be >= 0; got {self.device}, {self.group}"
            )

    @property
    def finds_weights(self) -> bool:
        """Whether W that its lanes run with was built in scratch before."""
        return any(buffer.space is BufferSpace.SCRATCH for buffer in self.reads)

    @property
    def name(self) -> str:
        """``F3``; on device 1 ``F3%1``; of group 2 ``F3/2``; with a trip ``F3.1``; in a later step
        of the period ``F3@2``; all of it ``F3%1/2.1@2``."""
        unit = "" if self.unit is None else unit_name(self.unit)
        name = f"{LETTERS[self.kind]}{unit}"
        if not (self.device or self.group or self.trip or self.step):
            return name
        marks = (("%", self.device), ("/", self.group), (".", self.trip), ("@", self.step))
        return name + "".join(_marked(*mark) for mark in marks)


_SLOTS = (BufferSpace.SLOT, BufferSpace.SLICE)


def operation(
    kind: Kind,
    stream: Stream,
    reads: tuple[Buffer, ...],
    writes: tuple[Buffer, ...],
    **fields: Any,
) -> Op:
    """An operation on the slot among what it touches, if there is one; ``fields`` are an `Op`'s."""
    slots = (buffer.number for buffer in (*reads, *writes) if buffer.space in _SLOTS)
    slot = next(slots, None)
    return Op(kind=kind, stream=stream, reads=reads, writes=writes, slot=slot, **fields)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Operations of one period of ``steps`` steps, in issue order.

    Raises ``ValueError`` when two operations share a name, or when an edge points at an operation
    that does not come earlier (or, with ``^``, that the period does not have).
    """

    name: str
    steps: int = 1
    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.name}: a period must have at least 1 step; got {self.steps}")
        names = self.index
        if len(names) != len(self.ops):
            raise ValueError(
                f"{self.name}: operation names must be unique; twice: {_first_twice(self.ops)}"
            )
        for i, op in enumerate(self.ops):
            for edge in op.after:
                target = names.get(edge.removesuffix("^"))
                if target is None or (not edge.endswith("^") and target >= i):
                    raise ValueError(
                        f"{self.name}: {op.name} waits on {edge}, which must be an earlier "
                        f"operation, or with ^ one of the previous period"
                    )

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each operation, by name."""
        return {op.name: i for i, op in enumerate(self.ops)}

    def without(self, kind: Kind) -> "Schedule":
        """The same but for operations of a kind, on which no other one waits."""
        return replace(self, ops=tuple(op for op in self.ops if op.kind is not kind))


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """All that a policy generates: the first period, the steady period, flush and evaluation.

    ``prologue`` has the operations of ``period``, without edges to a previous period, and its
    first step has no record to apply. The other two are made when somebody asks for them, who
    compares programs being one: what predicts steps does not.
    """

    prologue: Schedule
    period: Schedule
    flushing: Callable[[], Schedule]
    evaluating: Callable[[], Schedule]

    @cached_property
    def flush(self) -> Schedule:
        """Applies what is pending."""
        return self.flushing()

    @cached_property
    def evaluate(self) -> Schedule:
        """Only reads."""
        return self.evaluating()

    @property
    def evaluation(self) -> "Program":
        """The program that only evaluates."""
        return replace(self, prologue=self.evaluate, period=self.evaluate)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self._schedules() == other._schedules()

    def __hash__(self) -> int:
        return hash(self.period)

    def _schedules(self) -> tuple[Schedule, ...]:
        return self.prologue, self.period, self.flush, self.evaluate


def _first_twice(ops: Iterable[Op]) -> str:
    seen: set[str] = set()
    for op in ops:
        if op.name in seen:
            return op.name
        seen.add(op.name)
    return "none"
