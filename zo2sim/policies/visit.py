"""The operations of one unit in one trip: the only place where an operation's accesses are said."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from zo2sim.policies.layout import Layout, Run
from zo2sim.schedule.ops import HEAD, TAIL, Buffer, BufferSpace, Kind, Op, Stream, operation

JOURNAL = Buffer(BufferSpace.JOURNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One trip's work on one unit: records to apply, lanes to run, whether to write back.

    What several devices do comes kind by kind, so that all of them upload a block before one writes
    it back.
    """

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
            yield from self.update()
        if self.lanes:
            yield from self.forward()
        if streamed and self.save and not on_host:
            yield from self.leave()

    def arrive(self) -> Iterator[Op]:
        """Bring a streamed block into its slots."""
        layout, unit = self.layout, self.unit
        if layout.plan.tier == "nvme":
            nvme = Buffer(BufferSpace.NVME, unit)
            yield self._op(Kind.READ, Stream.NVME_READ, (nvme,), (layout.source(unit),))
        elif layout.recipe.recoded:
            yield self._op(Kind.ENCODE, Stream.HOST, self._homes, (layout.source(unit),))
        for device in self._visited:
            source, slot = layout.source(unit, device), layout.weights(unit, device)
            part = layout.updated(unit, device)
            if not layout.plan.reuse_slots:
                yield self._op(Kind.ALLOC, Stream.H2D, (), (slot,), device=device)
            into = tuple(dict.fromkeys((part, slot)))
            yield self._op(Kind.H2D, Stream.H2D, (source,), into, device=device)

    @property
    def _visited(self) -> tuple[int, ...]:
        """Devices that the block comes to: all that have it where it is updated or gathered, else
        those that run lanes."""
        homes = self.layout.homes(self.unit)
        if self.records is not None or self.layout.sliced:
            return homes
        running = {run.device for run in self._runs}
        return tuple(device for device in homes if device in running)

    @property
    def _runs(self) -> Iterator[Run]:
        return self.layout.runs(self.unit, self.lanes)

    def update(self) -> Iterator[Op]:
        """Apply pending records to theta on every device that has it."""
        for device in self.layout.homes(self.unit):
            weights = (self.layout.updated(self.unit, device),)
            yield self._apply(Kind.UPDATE, Stream.COMPUTE, weights, device)

    def host_update(self) -> Op:
        """Apply them to the host copy instead, before it is uploaded."""
        return self._apply(Kind.HOST_UPDATE, Stream.HOST, self._homes)

    @property
    def _homes(self) -> tuple[Buffer, ...]:
        """The block in host memory: its slices, where there are any."""
        homes = (self.layout.home(self.unit, device) for device in self.layout.homes(self.unit))
        return tuple(dict.fromkeys(homes))

    def _apply(
        self, kind: Kind, stream: Stream, weights: tuple[Buffer, ...], device: int = 0
    ) -> Op:
        records = self.records
        assert records is not None, "nothing is applied where there are no records"
        rings = {self.layout.record(self.record_step - back) for back in range(records)}
        reads = (*sorted(rings), *weights)
        return self._op(kind, stream, reads, weights, records=records, device=device)

    def forward(self) -> Iterator[Op]:
        """Gather the weights where they come in slices, build W+ and W-, and run the lanes.

        What is built ahead is so just before the first group that finds it there.
        """
        runs = tuple(self._runs)
        if self.layout.sliced and self.layout.is_streamed(self.unit):
            for device in dict.fromkeys(run.device for run in runs):
                yield self._gather(device)
        unbuilt = self.lanes if self._builds_ahead else ""
        for run in runs:
            if run.lanes in unbuilt:
                signs = unbuilt if self.layout.plan.scratch_copies == 2 else run.lanes
                yield from self._build(run._replace(lanes=signs))
                unbuilt = unbuilt.removeprefix(signs)
            yield from self._send(run)
            yield self._run(run)

    @property
    def _builds_ahead(self) -> bool:
        return self.layout.builds_ahead and self.lanes != "0"

    def _build(self, run: Run) -> Iterator[Op]:
        """W of some signs into scratch, where it takes any."""
        layout = self.layout
        if scratch := layout.scratch(self.unit, run.lanes, run.device):
            weights = layout.read_by_forward(self.unit, run.device)
            written = _of_signs(scratch, run.lanes)
            yield self._of_lanes(Kind.BUILD, Stream.COMPUTE, weights, written, run)

    def _gather(self, device: int) -> Op:
        homes = self.layout.homes(self.unit)
        slices = tuple(self.layout.updated(self.unit, home) for home in homes)
        slot = self.layout.weights(self.unit, device)
        return self._op(Kind.GATHER, Stream.PEER, slices, (slot,), device=device)

    def _send(self, run: Run) -> Iterator[Op]:
        """Activations come from the device of the unit before, unless this is it."""
        if self.unit == HEAD:
            return
        last = self.layout.shape.num_blocks - 1
        before = last if self.unit == TAIL else self.unit - 1
        sender = {one.group: one.device for one in self.layout.runs(before, self.lanes)}[run.group]
        if sender != run.device:
            here, there = activations(run.group, sender), activations(run.group, run.device)
            yield self._of_lanes(Kind.SEND, Stream.PEER, (here,), (there,), run)

    def _run(self, run: Run) -> Op:
        """A group's lanes, with W that they find in scratch or build there."""
        layout, hidden = self.layout, activations(run.group, run.device)
        scratch = layout.scratch(self.unit, run.lanes, run.device)
        changed = layout.changed_by_forward(self.unit) if self.lanes != "0" else ()
        before = () if self.unit == HEAD else (hidden,)
        weights = layout.read_by_forward(self.unit, run.device)
        found = _of_signs(scratch, run.lanes) if self._builds_ahead else ()
        built = () if self._builds_ahead else scratch
        reads, writes = (*weights, *found, *before), (*changed, *built, hidden)
        return self._of_lanes(Kind.FORWARD, Stream.COMPUTE, reads, writes, run)

    def leave(self) -> Iterator[Op]:
        """Write a block back."""
        layout, unit = self.layout, self.unit
        for device in layout.writers(unit):
            part, target = layout.updated(unit, device), layout.target(unit, device)
            yield self._op(Kind.D2H, Stream.D2H, (part,), (target,), device=device)
        if layout.plan.tier == "nvme":
            nvme, staged = Buffer(BufferSpace.NVME, unit), layout.target(unit)
            yield self._op(Kind.WRITE, Stream.NVME_WRITE, (staged, JOURNAL), (nvme,))

    def _of_lanes(
        self,
        kind: Kind,
        stream: Stream,
        reads: tuple[Buffer, ...],
        writes: tuple[Buffer, ...],
        run: Run,
    ) -> Op:
        lanes = {"device": run.device, "group": run.group, "lanes": run.lanes}
        return self._op(kind, stream, reads, writes, **lanes)

    @property
    def _op(self) -> partial[Op]:
        return partial(operation, unit=self.unit, step=self.step, trip=self.trip)


def activations(group: int, device: int) -> Buffer:
    """Hidden states of a group's lanes where they are."""
    return Buffer(BufferSpace.ACTIVATIONS, group, device)


def _of_signs(scratch: tuple[Buffer, ...], lanes: str) -> tuple[Buffer, ...]:
    """Where W of some signs is: the only copy, or each sign's."""
    return scratch if len(scratch) < 2 else tuple(scratch["+-".index(sign)] for sign in lanes)


def lose(layout: Layout, *, lanes: str, **fields: Any) -> Op:
    """The losses of all lanes become known where the tail is, or on the first device."""
    runs = layout.runs(TAIL, lanes)
    reads = tuple(activations(run.group, run.device) for run in runs)
    return Op(kind=Kind.LOSS, stream=Stream.COMPUTE, reads=reads, **fields)


def close_step(layout: Layout, step: int, *, journal: bool = True) -> Iterator[Op]:
    """LOSS turns the lanes' losses into g; JOURNAL makes the step's record durable."""
    record = layout.record(step)
    yield lose(layout, lanes="+-", step=step, writes=(record,))
    if journal:
        yield Op(
            kind=Kind.JOURNAL, stream=Stream.HOST, step=step, reads=(record,), writes=(JOURNAL,)
        )
