"""Who is in which slot, and when: device memory over time, read off a trace."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op
from zo2sim.simulate.trace import Span, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """One unit's stay in one slot of a device. ``step`` counts from the first step of the trace."""

    device: int = 0
    slot: int
    unit: int | None
    step: int
    start_s: float
    end_s: float


def slot_intervals(trace: Trace) -> tuple[Tenancy, ...]:
    """Every stay in a slot, ordered by start, then device and slot.

    A stay begins with its ALLOC, or with its H2D where the slot is reused, and ends with the last
    operation that declares that slot before the next tenant's begins.
    """
    stays: list[Tenancy] = []
    current: dict[Buffer, tuple[Op, Tenancy]] = {}
    for span in trace.spans:
        for slot in _slots(span.op):
            before = current.get(slot)
            if before is None or _is_arrival(span.op, before[0]):
                stays.extend(_ended(before))
                stay = _opened(slot, span)
            else:
                stay = replace(before[1], end_s=max(before[1].end_s, span.end_s))
            current[slot] = (span.op, stay)
    for last in current.values():
        stays.extend(_ended(last))
    return tuple(sorted(stays, key=lambda stay: (stay.start_s, stay.device, stay.slot)))


def slots_in_use(trace: Trace, device: int = 0) -> tuple[tuple[float, int], ...]:
    """``(time in seconds, occupied slots of a device)`` at every change, from time 0.

    A slot that is handed over at one instant counts once: departures come first.
    """
    changes: dict[float, int] = {0.0: 0}
    for stay in slot_intervals(trace):
        if stay.device == device and stay.end_s > stay.start_s:
            changes[stay.start_s] = changes.get(stay.start_s, 0) + 1
            changes[stay.end_s] = changes.get(stay.end_s, 0) - 1
    return tuple(_running(changes))


def _slots(op: Op) -> tuple[Buffer, ...]:
    """The slots among what it touches, of which it may touch a slice."""
    slots = (BufferSpace.SLOT, BufferSpace.SLICE)
    touched = (b._replace(space=slots[0]) for b in (*op.reads, *op.writes) if b.space in slots)
    return tuple(dict.fromkeys(touched))


def _is_arrival(op: Op, before: Op) -> bool:
    """An upload into a slot that was just allocated belongs to the stay that the ALLOC began."""
    allocated = before.kind is Kind.ALLOC and before.unit == op.unit
    return op.kind is Kind.ALLOC or (op.kind is Kind.H2D and not allocated)


def _opened(slot: Buffer, span: Span) -> Tenancy:
    return Tenancy(
        device=slot.device,
        slot=slot.number,
        unit=span.op.unit,
        step=span.step,
        start_s=span.start_s,
        end_s=span.end_s,
    )


def _ended(last: tuple[Op, Tenancy] | None) -> Iterator[Tenancy]:
    if last is not None:
        yield last[1]


def _running(changes: dict[float, int]) -> Iterator[tuple[float, int]]:
    level, shown = 0, -1
    for time_s in sorted(changes):
        level += changes[time_s]
        if level != shown:
            yield time_s, level
            shown = level
