"""A model's shapes from its config, by building its class and running it without arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils.generic import ModelOutput

from zo2rt.model.discovery import Blocks, block_lists
from zo2rt.model.units import Unit as RealUnit
from zo2rt.model.units import Units, find_units
from zo2rt.tracing.attention import Masks
from zo2rt.tracing.building import meta_model
from zo2rt.tracing.counting import Work
from zo2rt.tracing.fitting import fitted
from zo2rt.tracing.inputs import inputs
from zo2rt.tracing.passes import counted, once, shadowed
from zo2rt.tracing.shadow import tensors_of
from zo2rt.tracing.stacks import running
from zo2sim.checks import first_line
from zo2sim.models.shapes import Model, Parameter, Unit
from zo2sim.schedule.ops import HEAD, TAIL

_LENGTHS = ((128, 192, 256), (16, 32, 48), (4, 8, 12), (2, 4, 6))
"""Lengths at which work is counted; shorter ones where a model has fewer positions. Recurrences
work through chunks of 64, and one chunk alone is a case of its own."""
_CHUNKS = ("chunk_size", "mamba_chunk_size", "block_size", "local_radius")
"""Fields with the length of a recurrence's or an attention's chunks, where they are longer."""
_LONGEST_CHUNK = 1024


def trace(config: Mapping[str, Any], *, name: str) -> Model:
    """The model that transformers builds from a config, as `zo2sim` describes models.

    Raises ``ValueError``, in one line, where there is no such model, or its work cannot be told.
    """
    model = meta_model(config, name=name)
    _cast(model, torch.bfloat16)
    try:
        return _traced(model, name)
    except Exception as error:  # of any kind: what runs is the class's own code
        raise ValueError(
            f"{name}: {type(model).__name__} must run without values for its shapes to be told; "
            f"got {type(error).__name__}: {first_line(error)}"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """What units ran: in half precision and fp32 by length, and with every mask made."""

    lengths: Sequence[int]
    half: Sequence[Mapping[int, Work]]
    full: Sequence[Mapping[int, Work]]
    masked: Mapping[int, Work]

    def of(self, unit: int) -> Unit:
        """The work of one unit."""
        none = Work()
        return fitted(
            self.lengths,
            [run.get(unit, none) for run in self.half],
            [run.get(unit, none) for run in self.full],
            self.masked.get(unit, none).attentions,
        )


def _traced(model: PreTrainedModel, name: str) -> Model:
    units, sizes = _units(model)
    counts = _counts(model, units.blocks)
    described = {unit.number: _described(unit, counts) for unit in units.order}
    for number, block in enumerate(units.blocks.modules):
        adapted = (*_linear(block), *_expert_shapes(counts.half[0][number]))
        described[number] = replace(described[number], linear_shapes=adapted)
    positions = _positions(counts)
    config = model.config.get_text_config()
    return Model(
        name=name,
        family=model.config.model_type,
        hidden=sizes.hidden,
        vocab=sizes.logits,
        max_positions=positions or _made_for(config),
        learned=positions is not None,
        head=described[HEAD],
        blocks=tuple(described[n] for n in range(units.num_blocks)),
        tail=described[TAIL],
        buffer_elements=sum(b.numel() for b in model.buffers()),
        notes=(*_notes(model, units), *_padded(counts.lengths[0])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Widths that a forward pass shows: of what passes from block to block, and of its result."""

    hidden: int
    logits: int


def _units(model: PreTrainedModel) -> tuple[Units, _Sizes]:
    """Units by one run, as the runtime finds them, and what else that run shows."""
    batch = inputs(model, _LENGTHS[-1][0]).batch
    widths, results = list[int](), list[Tensor]()

    def forward(model: nn.Module, batch: Mapping[str, Any]) -> float:
        results.extend(t for t in tensors_of(model(**batch)) if t.is_floating_point())
        return 0.0

    entered = list[int]()

    def hook_of(number: int) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            entered.append(number)
            widths.extend(t.shape[-1] for t in tensors_of(args[:1]))

        return note

    with shadowed(Masks(always=False)):
        blocks = _running(model, batch)
        hooks = [
            block.register_forward_pre_hook(hook_of(number))
            for number, block in enumerate(blocks.modules)
        ]
        with once(blocks.modules):
            units = find_units(model, forward, batch, blocks=blocks)
        for hook in hooks:
            hook.remove()
    _check_order(blocks, entered)
    return units, _Sizes(hidden=max(widths), logits=results[0].shape[-1])


def _check_order(blocks: Blocks, entered: Sequence[int]) -> None:
    """The runtime runs every block once and in order, and so must what is planned for."""
    must = "every block must run once and in order, to be streamed"
    for at, number in enumerate(entered):
        if number < at:
            raise ValueError(f"{must}; {blocks.title(number)} ran again, as shared layers do")
        if number > at:
            raise ValueError(f"{must}; {blocks.title(at)} did not, of a sequence of text alone")
    if len(entered) < len(blocks.modules):
        raise ValueError(f"{must}; {blocks.title(len(entered))} did not")


def _running(model: PreTrainedModel, batch: Mapping[str, Any]) -> Blocks:
    """Of classes that ask for a result that they do not have, after `completed`."""
    try:
        return running(model, batch)
    except AttributeError as error:
        completed(model, error)
        return running(model, batch)


def completed(model: PreTrainedModel, error: AttributeError) -> None:
    """Some classes ask for a result that they do not have (Llama 4's, in transformers 5.24).

    It is nothing for them from then on. Raises the error where it is another one.
    """
    if not isinstance(error.obj, ModelOutput):
        raise error
    name = str(error.name)

    def complete(_: nn.Module, __: object, output: Any) -> None:
        if isinstance(output, ModelOutput) and not hasattr(output, name):
            object.__setattr__(output, name, None)

    for module in model.modules():
        module.register_forward_hook(complete)


def _counts(model: PreTrainedModel, blocks: Blocks) -> _Counts:
    """At the longest lengths that the model has positions for."""
    for lengths in (*of_chunks(model.config.get_text_config()), *_LENGTHS[:-1]):
        try:
            return _counts_at(model, blocks, lengths)
        except (IndexError, RuntimeError):
            _cast(model, torch.bfloat16)
    return _counts_at(model, blocks, _LENGTHS[-1])


def of_chunks(config: Any) -> list[tuple[int, ...]]:
    """Two chunks, three and four."""
    found = [(name, getattr(config, name, None)) for name in _CHUNKS]
    whole = [n + (name == "local_radius") for name, n in found if isinstance(n, int)]
    whole += dict(getattr(config, "compress_rates", None) or {}).values()
    sizes = [n for n in whole if _LENGTHS[0][0] // 2 < n <= _LONGEST_CHUNK]
    return [(2 * size, 3 * size, 4 * size) for size in sizes[:1]]


def _counts_at(model: PreTrainedModel, blocks: Blocks, lengths: Sequence[int]) -> _Counts:
    def run(length: int, *, always: bool = False) -> dict[int, Work]:
        batch, masks = inputs(model, length).batch, Masks(always=always)
        return counted(model, blocks, batch, length=length, small=lengths[-1], masks=masks)

    half = [run(length) for length in reversed(lengths)]
    masked = run(lengths[0], always=True)
    _cast(model, torch.float32)
    full = [run(length) for length in lengths]
    _cast(model, torch.bfloat16)
    return _Counts(lengths=lengths, half=half[::-1], full=full, masked=masked)


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    model.to(dtype)


def _described(unit: RealUnit, counts: _Counts) -> Unit:
    own, borrowed = (
        tuple(Parameter(name=p.name, shape=p.shape) for p in parameters)
        for parameters in (unit.parameters, unit.borrowed)
    )
    return replace(counts.of(unit.number), parameters=own, borrowed=borrowed)


def _linear(block: nn.Module) -> list[tuple[int, int]]:
    """(out, in) of the layers of a block that adapters attach to."""
    found = list[tuple[int, int]]()
    for module in block.modules():
        if isinstance(module, nn.Linear):
            found.append((module.out_features, module.in_features))
        elif isinstance(module, Conv1D):
            found.append((module.nf, module.nx))
    return found


def _expert_shapes(work: Work) -> list[tuple[int, int]]:
    """The same of experts, whose matrices are one parameter."""
    routed = (p for p in work.products if p.weights and p.groups > 1)
    return [(p.n, p.k) for p in routed for _ in range(p.groups)]


def _positions(counts: _Counts) -> int | None:
    """How many positions there are, where they are read from a table one by one."""
    first = counts.half[0]
    limits = [
        one.rows - 1 - one.last + counts.lengths[0]
        for unit, work in first.items()
        for number, one in enumerate(work.look_ups)
        if _grows(counts, unit, number)
    ]
    return min(limits, default=None)


def _made_for(config: Any) -> int | None:
    """How long a sequence the model was made for, under whichever name its config says so."""
    names = ("max_position_embeddings", "max_seq_len", "seq_length")
    found = (getattr(config, name, None) for name in names)
    return next((most for most in found if isinstance(most, int) and most > 0), None)


def _grows(counts: _Counts, unit: int, number: int) -> bool:
    """Whether a look-up reaches as much further as the sequence gets longer."""
    runs = [run[unit].look_ups for run in counts.half]
    if any(len(run) != len(runs[0]) for run in runs):
        return False
    ahead = {run[number].last - length for run, length in zip(runs, counts.lengths, strict=True)}
    return len(ahead) == 1


def _notes(model: PreTrainedModel, units: Units) -> tuple[str, ...]:
    source = (
        f"{type(model).__name__} of transformers {transformers.__version__}, traced with PyTorch "
        f"{torch.__version__}"
    )
    return (source, *inputs(model, 2).notes, *_idle(model, units))


def _padded(shortest: int) -> tuple[str, ...]:
    if shortest <= _LENGTHS[0][0]:
        return ()
    return (
        f"counted from {shortest} tokens on: a shorter sequence is padded to whole chunks, and "
        "takes longer than is said here",
    )


def _idle(model: PreTrainedModel, units: Units) -> tuple[str, ...]:
    """Lists of blocks that do not run: the towers of images and sound."""
    ran = {name.rpartition(".")[0] for name in units.blocks.names}
    idle = [path for path in block_lists(model) if path not in ran]
    if not idle:
        return ()
    elements = sum(p.numel() for path in idle for p in model.get_submodule(path).parameters())
    return (
        f"a sequence is text alone: {', '.join(idle)} ({elements / 1e6:.0f} million parameters) "
        "stay on the device and do not run",
    )
