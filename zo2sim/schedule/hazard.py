"""What the verifier reports: one way for a program to go wrong, as a counterexample in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from zo2sim.schedule.ops import Buffer, Op
from zo2sim.schedule.unroll import Unrolled

HazardKind = Literal["RAW", "WAR", "WAW", "capacity", "stale", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """``second`` may start before ``first`` has ended; without ``first``, it is wrong by itself.

    ``words`` is a minimal counterexample: operations, buffer, consequence and remedy.
    """

    kind: HazardKind
    first: Unrolled | None = None
    second: Unrolled
    buffer: Buffer
    words: str

    def __str__(self) -> str:
        return f"{self.kind} hazard on {self.buffer}: {self.words}"


def place(item: Unrolled) -> str:
    """``F1 (compute, step 0)``."""
    return f"{item.name} ({item.op.track}, step {item.step})"


def lacking(op: Op) -> Unrolled:
    """An operation that a program lacks, as if it had it."""
    return Unrolled(op, op.name, 0, op.step, 0, None, ())


def once(hazards: Iterable[Hazard]) -> tuple[Hazard, ...]:
    """The first hazard of each pair of names, and of each name and kind without a pair."""
    found: dict[tuple[str, str], Hazard] = {}
    for hazard in hazards:
        partner = hazard.kind if hazard.first is None else hazard.first.name
        found.setdefault((partner, hazard.second.name), hazard)
    return tuple(found.values())
