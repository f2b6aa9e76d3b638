"""What an engine is about to allocate, before it does: what it is refused by."""

from collections.abc import Iterable, Iterator, Sequence

from zo2rt.model.units import Unit, Units
from zo2rt.weights.formats import Formats
from zo2sim.memory.account import Item, MemoryAccount, MemoryPlace
from zo2sim.memory.runtime import read_back


def demand(formats: Formats) -> MemoryAccount:
    """The buffers of an `zo2rt.weights.arena.Arena`, to the byte: all devices' together, and the
    host's.

    Activations, noise and libraries take memory beside them; so does a unit that is there twice
    while it moves, and what `at_a_snapshot` counts.
    """
    devices = _devices(formats)
    together = [(name, sum(dict(one)[name] for one in devices)) for name, _ in devices[0]]
    items = (
        *_items(MemoryPlace.DEVICE, together),
        *_items(MemoryPlace.HOST, _on_host(formats)),
    )
    policy = formats.layout.plan.policy
    return MemoryAccount(title=f"policy={policy}, activations apart,", items=items)


def at_a_snapshot(units: Units) -> Item:
    """What a run takes whenever its weights are written: a file at a time is read back."""
    sizes = [p.elements * p.tensor.element_size() for p in units.parameters if p.trainable]
    return read_back(sum(sizes), max(sizes, default=0))


def demands(formats: Formats) -> tuple[MemoryAccount, ...]:
    """Of each device its own."""
    policy = formats.layout.plan.policy
    return tuple(
        MemoryAccount(
            title=f"policy={policy}, device {number}, activations apart,",
            items=tuple(_items(MemoryPlace.DEVICE, one)),
        )
        for number, one in enumerate(_devices(formats))
    )


def _devices(formats: Formats) -> list[list[tuple[str, int]]]:
    return [[*_on_device(formats.on(n))] for n in range(formats.layout.plan.devices)]


def _items(place: MemoryPlace, named: Iterable[tuple[str, int]]) -> Iterator[Item]:
    for name, nbytes in named:
        yield Item(place=place, name=name, num_bytes=nbytes, cause="arena")


def _on_device(here: Formats) -> Iterator[tuple[str, int]]:
    """Under the names of `zo2sim.memory.runtime`."""
    streamed = {unit.number for unit in here.streamed}
    staying = [unit for unit in here.held if unit.number not in streamed]
    yield "resident units", _homes(here, [u for u in staying if u.number < 0])
    yield "resident blocks", _homes(here, [u for u in staying if u.number >= 0])
    yield "slots", here.num_slots * here.slot_bytes
    yield "scratch", here.num_scratch * here.scratch_bytes + here.decoded_bytes


def _on_host(formats: Formats) -> Iterator[tuple[str, int]]:
    layout = formats.layout
    devices = map(formats.on, range(layout.plan.devices))
    slots, nvme = sum(d.num_slots * d.slot_bytes for d in devices), layout.plan.tier == "nvme"
    streamed = [formats.units[n] for n in layout.streamed]
    yield "streamed blocks", 0 if nvme else _homes(formats, streamed)
    yield "wire staging", slots if layout.recipe.recoded else 0
    yield "NVMe staging", 2 * slots if nvme else 0


def _homes(formats: Formats, units: Sequence[Unit]) -> int:
    return sum(formats.home(unit).num_bytes for unit in units)
