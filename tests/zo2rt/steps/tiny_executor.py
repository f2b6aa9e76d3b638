"""A reference executor: any policy's program on any backend, with payloads of 64 bytes.

Copies copy. Everything else folds what it reads into what it writes with arithmetic that does not
commute, so that whoever sees a wrong version, or comes in a wrong order, leaves other bytes.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch

from zo2rt.backends import Backend, Event
from zo2rt.races.backend import Checked
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Stream, Track
from zo2sim.schedule.unroll import Unrolled, chain

NBYTES = 64
COPIES = (Kind.READ, Kind.H2D, Kind.D2H, Kind.WRITE)
ON_DEVICE = (
    BufferSpace.SLOT,
    BufferSpace.SLICE,
    BufferSpace.RESIDENT,
    BufferSpace.SCRATCH,
    BufferSpace.ACTIVATIONS,
    BufferSpace.RECORD,
)
WEIGHTS = (
    BufferSpace.SLICE,
    BufferSpace.SLOT,
    BufferSpace.HOST,
    BufferSpace.WIRE,
    BufferSpace.STAGE_IN,
    BufferSpace.STAGE_OUT,
    BufferSpace.NVME,
)

Memory = dict[Buffer, torch.Tensor]
Transfer = Callable[[Track, torch.Tensor, torch.Tensor], object]


def whole_run(
    shape: Shape, plan: Plan, recipe: Recipe, *, periods: int = 2
) -> tuple[Unrolled, ...]:
    """Prologue and steady periods; flush and evaluation start on an idle machine elsewhere."""
    program = build(shape, plan, recipe)
    return chain((program.prologue, *(program.period,) * (periods - 1)))


def in_issue_order(unrolled: tuple[Unrolled, ...]) -> dict[str, list[int]]:
    """The bytes that every buffer must have in the end."""
    memory = {buffer: torch.empty(NBYTES, dtype=torch.uint8) for buffer in buffers(unrolled)}
    for buffer, tensor in memory.items():
        fill(buffer, tensor)
    for item in unrolled:
        payload(item.op, memory, lambda _, target, source: target.copy_(source))
    return contents(memory)


def execute(backend: Backend, unrolled: tuple[Unrolled, ...]) -> dict[str, list[int]]:
    """The bytes that every buffer has in the end, by launch, wait and record alone."""
    memory = allocate(backend, unrolled)
    events: list[Event] = []
    for item in unrolled:
        for dep in item.deps:
            if dep != item.track_prev:
                backend.wait(item.op.track, events[dep])
        backend.launch(item.op.track, work(backend, item.op, memory), label=item.name)
        events.append(backend.record(item.op.track))
    backend.synchronize()
    return contents(memory)


def work(backend: Backend, op: Op, memory: Memory) -> Callable[[], None]:
    return lambda: payload(op, memory, backend.transfer)


def allocate(backend: Backend, unrolled: Iterable[Unrolled]) -> Memory:
    memory: Memory = {}
    for buffer in buffers(unrolled):
        new = backend.device_buffer if buffer.space in ON_DEVICE else backend.host_buffer
        memory[buffer] = new(NBYTES, device=buffer.device)
        if isinstance(backend, Checked):
            backend.name(memory[buffer], buffer)
        backend.launch(Stream.COMPUTE, partial(fill, buffer, memory[buffer]), label="fill")
    backend.synchronize()
    return memory


def buffers(unrolled: Iterable[Unrolled]) -> list[Buffer]:
    return sorted({b for item in unrolled for b in (*item.op.reads, *item.op.writes)})


def fill(buffer: Buffer, tensor: torch.Tensor) -> None:
    start = sum(str(buffer).encode())
    tensor.copy_((torch.arange(NBYTES) * 7 + start).to(torch.uint8))


def contents(memory: Memory) -> dict[str, list[int]]:
    return {str(buffer): tensor.tolist() for buffer, tensor in memory.items()}


def payload(op: Op, memory: Memory, transfer: Transfer) -> None:
    reads = list(op.reads)
    if op.kind in COPIES:
        source = next(b for b in op.reads if b.space in WEIGHTS)
        target = next(b for b in op.writes if b.space in WEIGHTS)
        transfer(op.track, memory[target], memory[source])
        reads.remove(source)
    if op.kind not in COPIES or reads:
        fold(op, [memory[b] for b in reads], [memory[b] for b in op.writes])


def fold(op: Op, reads: list[torch.Tensor], writes: list[torch.Tensor]) -> None:
    read = [tensor.view(torch.int64) * (2 * i + 3) for i, tensor in enumerate(reads)]
    for tensor in writes:
        written = tensor.view(torch.int64).mul_(31).add_(sum(op.name.encode()))
        for values in read:
            written.add_(values.to(written.device))
