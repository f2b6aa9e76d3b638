"""`zo2_reference`: the order in which the published code of ZO2 lets operations run.

Facts from liangyuwang/zo2 (optimizer/mezo_sgd/zo2.py and the model's inner_zo_forward): one host
thread issues everything. Before it issues an upload it waits for the upload stream; before an
offload for the offload and the compute stream; before a block's computation for the compute and
the upload stream; at both ends of a step for the device.

`tensor.to("cpu", non_blocking=True)` returns page-locked memory of PyTorch's allocator, so from
the second step on the code copies from and to that. With ``pinning=pageable`` a copy holds the
host thread until it ends, which is what the first step does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from zo2sim.policies.layout import Layout
from zo2sim.policies.visit import Visit, close_step
from zo2sim.schedule.ops import HEAD, TAIL, Op, Stream


def reference_ops(layout: Layout) -> Iterator[Op]:
    """The operations of one step, each waiting for what the host thread had waited for."""
    host = _HostThread()
    whole = partial(Visit, layout=layout, records=1, record_step=-1, lanes="+-", save=True)
    visits = {unit: whole(unit=unit) for unit in layout.units}
    last = layout.shape.num_blocks - 1
    yield from host.compute(visits[HEAD])
    yield from host.upload(visits[0])
    for block in range(1, last + 1):
        if block > 1:
            yield from host.offload(visits[block - 2])
        yield from host.compute(visits[block - 1])
        yield from host.upload(visits[block])
    if last > 0:
        yield from host.offload(visits[last - 1])
    yield from host.compute(visits[last])
    yield from host.offload(visits[last])
    yield from host.compute(visits[TAIL])
    host.wait(*Stream)
    for op in close_step(layout, 0, journal=False):
        yield replace(op, after=host.waited())


@dataclass(slots=True)
class _HostThread:
    """The operation issued last on each stream, and those the thread has waited for."""

    issued: dict[Stream, str] = field(default_factory=lambda: {})
    ended: dict[Stream, str] = field(default_factory=lambda: {})

    def wait(self, *streams: Stream) -> None:
        self.ended.update({s: self.issued[s] for s in streams if s in self.issued})

    def waited(self) -> tuple[str, ...]:
        """At first everything up to the loss of the step before, then what was waited for."""
        return ("L^", *self.ended.values())

    def upload(self, visit: Visit) -> Iterator[Op]:
        if visit.layout.is_streamed(visit.unit):
            self.wait(Stream.H2D)
            yield from self._copy(visit, visit.arrive())

    def offload(self, visit: Visit) -> Iterator[Op]:
        if visit.layout.is_streamed(visit.unit):
            self.wait(Stream.D2H, Stream.COMPUTE)
            yield from self._copy(visit, visit.leave())

    def compute(self, visit: Visit) -> Iterator[Op]:
        self.wait(Stream.COMPUTE, Stream.H2D)
        yield from self._issue(chain(visit.update(), visit.forward()))

    def _copy(self, visit: Visit, ops: Iterator[Op]) -> Iterator[Op]:
        yield from self._issue(ops)
        if visit.layout.plan.pinning == "pageable":
            self.wait(Stream.H2D, Stream.D2H)

    def _issue(self, ops: Iterator[Op]) -> Iterator[Op]:
        for op in ops:
            self.issued[op.stream] = op.name
            yield replace(op, after=self.waited())
