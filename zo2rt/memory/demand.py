"""What an engine is about to allocate, before it does: what it is refused by."""

from collections.abc import Iterable, Iterator

from zo2rt.model.units import Unit
from zo2rt.weights.arena import Formats
from zo2sim.memory.account import Item, MemoryAccount, MemoryPlace
from zo2sim.schedule.ops import HEAD, TAIL


def demand(formats: Formats) -> MemoryAccount:
    """The buffers of an `zo2rt.weights.arena.Arena`, to the byte.

    Activations, noise, snapshots and libraries take memory beside them; so does a unit that is
    there twice while it moves.
    """
    items = (Item(place=p, name=n, num_bytes=b, cause="arena") for p, n, b in _buffers(formats))
    policy = formats.layout.plan.policy
    return MemoryAccount(title=f"policy={policy}, activations apart,", items=tuple(items))


def _buffers(formats: Formats) -> Iterator[tuple[MemoryPlace, str, int]]:
    """Under the names of `zo2sim.memory.runtime`."""
    layout = formats.layout
    slots, nvme = layout.num_slots * formats.slot_bytes, layout.plan.tier == "nvme"
    streamed = [formats.units[n] for n in layout.streamed]
    staying = [formats.units[n] for n in range(layout.shape.num_blocks) if n not in layout.streamed]
    ends = [formats.units[n] for n in (HEAD, TAIL)]
    scratch = formats.num_scratch * formats.scratch_bytes + formats.decoded_bytes
    yield MemoryPlace.DEVICE, "resident units", _homes(formats, ends)
    yield MemoryPlace.DEVICE, "resident blocks", _homes(formats, staying)
    yield MemoryPlace.DEVICE, "slots", slots
    yield MemoryPlace.DEVICE, "scratch", scratch
    yield MemoryPlace.HOST, "streamed blocks", 0 if nvme else _homes(formats, streamed)
    yield MemoryPlace.HOST, "wire staging", slots if layout.recipe.recoded else 0
    yield MemoryPlace.HOST, "NVMe staging", 2 * slots if nvme else 0


def _homes(formats: Formats, units: Iterable[Unit]) -> int:
    return sum(formats.home(unit).num_bytes for unit in units)
