"""The operations of one unit in one trip: the only place where an operation's accesses are said."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from zo2sim.policies.layout import Layout
from zo2sim.schedule.ops import HEAD, Buffer, BufferSpace, Kind, Op, Stream, operation

ACTIVATIONS = Buffer(BufferSpace.ACTIVATIONS)
JOURNAL = Buffer(BufferSpace.JOURNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One trip's work on one unit: records to apply, lanes to run, whether to write back."""

    layout: Layout
    unit: int
    step: int = 0
    trip: int = 0
    records: int | None = None
    record_step: int = 0
    lanes: str = ""
    save: bool = False

    def ops(self) -> Iterator[Op]:
        """The unit's operations in issue order."""
        streamed = self.layout.is_streamed(self.unit)
        on_host = streamed and self.layout.plan.policy.traits.updates_on_host
        updates = self.records is not None and self.layout.is_trained(self.unit)
        if on_host and updates:
            yield self.host_update()
        if streamed and (self.lanes or not on_host):
            yield from self.arrive()
        if updates and not on_host:
            yield self.update()
        if self.lanes:
            yield self.forward()
        if streamed and self.save and not on_host:
            yield from self.leave()

    def arrive(self) -> Iterator[Op]:
        """Bring a streamed block into its slot."""
        source, slot = self.layout.source(self.unit), self.layout.weights(self.unit)
        if self.layout.plan.tier == "nvme":
            nvme = Buffer(BufferSpace.NVME, self.unit)
            yield self._op(Kind.READ, Stream.NVME_READ, (nvme,), (source,))
        elif self.layout.recipe.recoded:
            host = Buffer(BufferSpace.HOST, self.unit)
            yield self._op(Kind.ENCODE, Stream.HOST, (host,), (source,))
        if not self.layout.plan.reuse_slots:
            yield self._op(Kind.ALLOC, Stream.H2D, (), (slot,))
        yield self._op(Kind.H2D, Stream.H2D, (source,), (slot,))

    def update(self) -> Op:
        """Apply pending records to theta on the device."""
        return self._apply(Kind.UPDATE, Stream.COMPUTE, self.layout.weights(self.unit))

    def host_update(self) -> Op:
        """Apply them to the host copy instead, before it is uploaded."""
        return self._apply(Kind.HOST_UPDATE, Stream.HOST, Buffer(BufferSpace.HOST, self.unit))

    def _apply(self, kind: Kind, stream: Stream, weights: Buffer) -> Op:
        records = self.records or 0
        rings = {self.layout.record(self.record_step - back) for back in range(records)}
        return self._op(kind, stream, (*sorted(rings), weights), (weights,), records=records)

    def forward(self) -> Op:
        """Build W+ and W- and run the lanes."""
        layout = self.layout
        scratch = layout.scratch(self.unit, self.lanes)
        changed = layout.changed_by_forward(self.unit) if self.lanes != "0" else ()
        before = () if self.unit == HEAD else (ACTIVATIONS,)
        reads = (*layout.read_by_forward(self.unit), *before)
        writes = (*changed, *scratch, ACTIVATIONS)
        return self._op(Kind.FORWARD, Stream.COMPUTE, reads, writes, lanes=self.lanes)

    def leave(self) -> Iterator[Op]:
        """Write a block back."""
        slot, target = self.layout.weights(self.unit), self.layout.target(self.unit)
        yield self._op(Kind.D2H, Stream.D2H, (slot,), (target,))
        if self.layout.plan.tier == "nvme":
            nvme = Buffer(BufferSpace.NVME, self.unit)
            yield self._op(Kind.WRITE, Stream.NVME_WRITE, (target, JOURNAL), (nvme,))

    @property
    def _op(self) -> partial[Op]:
        return partial(operation, unit=self.unit, step=self.step, trip=self.trip)


def close_step(layout: Layout, step: int, *, journal: bool = True) -> Iterator[Op]:
    """LOSS turns the lanes' losses into g; JOURNAL makes the step's record durable."""
    record = layout.record(step)
    yield Op(
        kind=Kind.LOSS, stream=Stream.COMPUTE, step=step, reads=(ACTIVATIONS,), writes=(record,)
    )
    if journal:
        yield Op(
            kind=Kind.JOURNAL, stream=Stream.HOST, step=step, reads=(record,), writes=(JOURNAL,)
        )
