"""Baselines as programs: forward, backward and optimizer's step, declared in issue order.

Operations say what they read and write; `zo2sim.schedule.edges` makes the edges, as for every
policy.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from zo2sim.baselines.layout import TrainingLayout
from zo2sim.baselines.training import Training
from zo2sim.policies import Shape
from zo2sim.schedule.edges import prologue, with_edges
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, Schedule, Stream, operation

ACTIVATIONS = Buffer(BufferSpace.ACTIVATIONS)
LOSS_VALUE = Buffer(BufferSpace.RECORD)


def build(shape: Shape, training: Training) -> Program:
    """The program of a baseline; a period is one optimizer step, and nothing is left to flush."""
    layout = TrainingLayout(shape=shape, training=training)
    period = _schedule(training, "period", _period_ops(layout), cyclic=True)
    return Program(
        prologue=prologue(period),
        period=period,
        flushing=partial(_schedule, training, "flush", (), cyclic=False),
        evaluating=partial(_evaluate, layout),
    )


def _evaluate(layout: TrainingLayout) -> Schedule:
    return _schedule(layout.training, "evaluate", _evaluate_ops(layout), cyclic=False)


def _schedule(training: Training, part: str, ops: Iterable[Op], *, cyclic: bool) -> Schedule:
    return Schedule(name=f"{training.method}/{part}", ops=with_edges(tuple(ops), cyclic=cyclic))


def _period_ops(layout: TrainingLayout) -> Iterator[Op]:
    """One step, whose first operation waits until the step before has ended.

    [Note: the step blocks] DeepSpeed's ``step()`` returns when every parameter is updated, and the
    next forward pass is issued afterwards (runtime/zero/stage2.py at 00c3a25); to overlap the two
    takes the delayed update of arXiv:2101.06840, section 5.2, an option that trains differently.
    Without this edge block 0 could start as soon as its own weights are back. Where the optimizer
    treats units in the backward pass, block 0 is the last to be treated, and nothing is gained.
    """
    first, *others = _step_ops(layout)
    ends = {op.track: op.name for op in (first, *others)}
    blocks = layout.homes.states != "device" and not layout.homes.step_in_backward
    waits = tuple(f"{name}^" for name in ends.values()) if blocks else ()
    yield replace(first, after=(*first.after, *waits))
    yield from others


def _step_ops(layout: TrainingLayout) -> Iterator[Op]:
    count, before_step = layout.training.microbatches, ""
    for microbatch in range(count):
        yield from _forward_trip(layout, microbatch)
        if microbatch == count - 1:
            yield Op(
                kind=Kind.LOSS, stream=Stream.COMPUTE, reads=(ACTIVATIONS,), writes=(LOSS_VALUE,)
            )
        for op in _backward_trip(layout, microbatch):
            yield op
            before_step = op.name
    if not layout.homes.step_in_backward:
        for unit in layout.units:
            first, *others = Pass(layout=layout, unit=unit, trip=2 * count).step()
            yield replace(first, after=(before_step,))
            yield from others


def _forward_trip(layout: TrainingLayout, microbatch: int) -> Iterator[Op]:
    for unit in layout.units:
        yield from Pass(layout=layout, unit=unit, trip=2 * microbatch).forward()


def _backward_trip(layout: TrainingLayout, microbatch: int) -> Iterator[Op]:
    last = microbatch == layout.training.microbatches - 1
    for unit in reversed(layout.units):
        visit = Pass(layout=layout, unit=unit, trip=2 * microbatch + 1)
        yield from visit.backward(microbatch)
        if last and layout.homes.step_in_backward:
            yield from visit.step()


def _evaluate_ops(layout: TrainingLayout) -> Iterator[Op]:
    for unit in layout.units:
        visit = Pass(layout=layout, unit=unit)
        yield from visit.arrive()
        yield visit.run()
    yield Op(kind=Kind.LOSS, stream=Stream.COMPUTE, reads=(ACTIVATIONS,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One unit's operations in one trip: the only place where their accesses are said."""

    layout: TrainingLayout
    unit: int
    trip: int = 0

    def arrive(self) -> Iterator[Op]:
        """Bring a streamed block into its slot."""
        if not self.layout.is_streamed(self.unit):
            return
        source = self.layout.upload_source(self.unit)
        if source.space is BufferSpace.STAGE_IN:
            home = self.layout.home_weights(self.unit)
            yield self._op(Kind.READ, Stream.NVME_READ, (home,), (source,))
        yield self._op(Kind.H2D, Stream.H2D, (source,), (self.layout.weights(self.unit),))

    def run(self, *, keep: bool = False) -> Op:
        """The forward pass; ``keep`` leaves a block's checkpoint behind."""
        kept = (self.layout.checkpoint(self.unit),) if keep and self.unit >= 0 else ()
        before = (ACTIVATIONS,) if self.trip or self.unit != self.layout.units[0] else ()
        reads = (*self.layout.read_by_pass(self.unit), *before)
        return self._op(Kind.FORWARD, Stream.COMPUTE, reads, (*kept, ACTIVATIONS), lanes="0")

    def forward(self) -> Iterator[Op]:
        """Arrive, compute, and send the checkpoint home."""
        yield from self.arrive()
        yield self.run(keep=True)
        if self._spills:
            here, there = self.layout.checkpoint(self.unit), self.layout.host_checkpoint(self.unit)
            yield self._op(Kind.SPILL, Stream.D2H, (here,), (there,))

    def backward(self, microbatch: int) -> Iterator[Op]:
        """Arrive again, fetch the checkpoint, compute gradients, and send them home."""
        layout, unit = self.layout, self.unit
        yield from self.arrive()
        if self._spills:
            here, there = layout.checkpoint(unit), layout.host_checkpoint(unit)
            yield self._op(Kind.RESTORE, Stream.H2D, (there,), (here,))
        kept = (layout.checkpoint(unit),) if unit >= 0 else ()
        reads = (*layout.read_by_pass(unit), *kept, ACTIVATIONS, *layout.adds_to(unit, microbatch))
        writes = (*layout.written_by_backward(unit), ACTIVATIONS)
        yield self._op(Kind.BACKWARD, Stream.COMPUTE, reads, writes)
        if layout.homes.gradients == "device":
            return
        target = layout.host_gradient(unit)
        summed = (target,) if microbatch > 0 else ()
        reads = (layout.gradient(unit), *summed)
        yield self._op(Kind.GRADIENT_D2H, Stream.D2H, reads, (target,))
        if layout.homes.gradients == "nvme":
            home = Buffer(BufferSpace.NVME_GRADIENT, unit)
            yield self._op(Kind.GRADIENT_WRITE, Stream.NVME_WRITE, (target,), (home,))

    def step(self) -> Iterator[Op]:
        """The optimizer's step of the unit, and its new weights on their way to the device."""
        layout, unit = self.layout, self.unit
        if layout.homes.states == "device":
            state, weights = Buffer(BufferSpace.STATE, unit), layout.weights(unit)
            reads = (layout.gradient(unit), state, weights)
            yield self._op(Kind.OPTIMIZE, Stream.COMPUTE, reads, (state, weights))
            return
        yield from self._step_on_nvme() if layout.homes.states == "nvme" else self._step_on_host()

    def _step_on_host(self) -> Iterator[Op]:
        state = Buffer(BufferSpace.HOST_STATE, self.unit)
        weights = Buffer(BufferSpace.HOST, self.unit)
        reads = (self.layout.host_gradient(self.unit), state)
        yield self._op(Kind.HOST_OPTIMIZE, Stream.HOST, reads, (state, weights))
        yield from self._refresh(weights)

    def _step_on_nvme(self) -> Iterator[Op]:
        layout, unit = self.layout, self.unit
        state, stage = Buffer(BufferSpace.NVME_STATE, unit), layout.stage(unit)
        on_nvme = layout.homes.gradients == "nvme"
        gradient = (Buffer(BufferSpace.NVME_GRADIENT, unit),) if on_nvme else ()
        yield self._op(Kind.STATE_READ, Stream.NVME_READ, (state, *gradient), (stage,))
        with_gradient = (stage,) if on_nvme else (stage, layout.host_gradient(unit))
        yield self._op(Kind.HOST_OPTIMIZE, Stream.HOST, with_gradient, (stage,))
        streamed = layout.is_streamed(unit)
        homes = (state, layout.home_weights(unit)) if streamed else (state,)
        yield self._op(Kind.STATE_WRITE, Stream.NVME_WRITE, (stage,), homes)
        yield from self._refresh(stage)

    def _refresh(self, source: Buffer) -> Iterator[Op]:
        """Weights that stay on the device get their new values; streamed ones come when needed."""
        if not self.layout.is_streamed(self.unit):
            weights = self.layout.weights(self.unit)
            yield self._op(Kind.H2D, Stream.H2D, (source,), (weights,))

    @property
    def _spills(self) -> bool:
        return self.unit >= 0 and self.layout.homes.checkpoints == "host"

    @property
    def _op(self) -> partial[Op]:
        return partial(operation, unit=self.unit, trip=self.trip)
