"""Models as shapes: parameters per unit, and the kernels that one forward pass runs.

`zo2sim.models.config` builds them from a Hugging Face config.json; `zo2sim.models.presets` names
them.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np

from zo2sim.dtypes import Dtype, TensorFormat

Number = Any
"""A number, or an array with one value per plan."""

TENSOR_GRAIN_BYTES = 256
"""Every tensor of a buffer starts at a multiple of this: aligned loads, and cuBLAS wants 16."""

_ROUTERS = ("gate", "router")
_ADAPTED = ".base_layer"  # PEFT keeps what it adapts under this name


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A weight tensor: name as in `named_parameters()` and logical shape (rows first)."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def rows(self) -> int:
        """Rows that get a scale of their own in a scaled wire format; a vector is one row."""
        return prod(self.shape[:-1])

    def format(self, dtype: Dtype, rest: Dtype | None = None) -> TensorFormat:
        """How a unit in a format stores it; ``rest`` is that of what an integer format leaves."""
        if not dtype.is_integer:
            return TensorFormat(dtype)
        assert rest is not None, f"{dtype} needs the format of what it leaves as it is"
        return TensorFormat(dtype, rest) if is_linear(self.name, self.shape) else TensorFormat(rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """C[m, n] = A[m, k] B[k, n] with m = ``rows_per_token`` x tokens, run ``count`` times.

    ``rows_per_token`` is below 1 where a router sends each token to some of the experts;
    ``rows_per_sequence`` come on top, whatever the length. With a ``bias``, C opens with a row of
    it and the product is added.
    """

    n: int
    k: int
    count: int = 1
    rows_per_token: float = 1.0
    bias: bool = False
    rows_per_sequence: float = 0.0

    def flops(self, batch: int, sequence: int) -> float:
        """Multiplications and additions."""
        rows = batch * (sequence * self.rows_per_token + self.rows_per_sequence)
        return 2.0 * self.n * self.k * self.count * rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Causal (or bidirectional) attention over the whole sequence, or over parts of ``chunk``.

    Values may have another width than queries and keys; 0 where the scores choose keys and nothing
    more. ``queries`` and ``keys`` are how many there are where that is not the sequence's length:
    positions of an image, or of an encoder; and on top of these ``per_token`` ones: tokens behind a
    prompt, or keys made of several. Where it is not ``fused``, the model's code multiplies all
    pairs and moves the scores itself.
    """

    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = True
    window: int | None = None
    chunk: int | None = None
    value_dim: int | None = None
    queries: int | None = None
    keys: int | None = None
    queries_per_token: float = 0.0
    keys_per_token: float = 0.0
    fused: bool = True

    @property
    def width(self) -> float:
        """Of a head, on the average of both products."""
        return self.head_dim if self.value_dim is None else self.both_dims / 2

    @property
    def both_dims(self) -> int:
        """Columns of a key and of a value."""
        return self.head_dim + (self.head_dim if self.value_dim is None else self.value_dim)

    def flops(self, batch: int, sequence: int) -> float:
        """Both products over all pairs, masked or not, as PyTorch's counter has it."""
        queries, keys = self.num_queries(sequence), self.num_keys(sequence)
        return 4.0 * self.width * self.heads * batch * queries * keys

    def square(self, batch: Number, sequence: Number) -> tuple[Number, Number]:
        """Sequences, and a length of queries and keys with which they make as many pairs."""
        if self.chunk is not None:
            return batch * np.maximum(1.0, sequence / self.chunk), np.minimum(sequence, self.chunk)
        if self.queries is None and self.keys is None:
            return batch, sequence
        return batch, np.sqrt(self.num_queries(sequence) * self.num_keys(sequence))

    def num_queries(self, sequence: Number) -> Number:
        """Of one sequence."""
        return _length(self.queries, self.queries_per_token, sequence)

    def num_keys(self, sequence: Number) -> Number:
        """The same of keys."""
        return _length(self.keys, self.keys_per_token, sequence)


def _length(own: int | None, per_token: float, sequence: Number) -> Number:
    return sequence if own is None else own + per_token * sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What moves together: the head, a block, or the tail.

    ``gemms`` and ``attentions`` are the matrix kernels of one forward pass; ``elementwise`` is the
    number of activation elements read or written per token by everything else (norms, residual
    additions, activation functions, embedding look-ups, biases) in half precision; the
    ``cast_elements`` among them vanish in fp32. ``kernels`` is the number of kernels launched per
    lane; the ``cast_kernels`` among them vanish in fp32, too. ``linear_shapes`` lists (out, in) of
    each linear layer, which is where LoRA adapters attach. ``borrowed`` parameters are another
    unit's, and read here too: a tied LM head is the embedding.

    Elements ``per_sequence`` come once for each, those ``per_pair`` for each pair of its positions:
    masks, biases and scores that a model's own code moves. ``kernels_per_token`` are launches of a
    loop over the sequence: a recurrence without a fused kernel.
    """

    parameters: tuple[Parameter, ...] = ()
    gemms: tuple[Gemm, ...] = ()
    attentions: tuple[Attention, ...] = ()
    elementwise: int = 0
    cast_elements: int = 0
    kernels: int = 0
    cast_kernels: int = 0
    linear_shapes: tuple[tuple[int, int], ...] = ()
    borrowed: tuple[Parameter, ...] = ()
    elementwise_per_sequence: int = 0
    elementwise_per_pair: int = 0
    kernels_per_token: float = 0.0

    @property
    def elements(self) -> int:
        return sum(p.elements for p in self.parameters)

    @property
    def kernels_and_sizes(self) -> object:
        """All that time and memory depend on: everything but the names of the parameters."""
        named = {"parameters": self.parameters, "borrowed": self.borrowed}
        shapes = tuple(tuple(p.shape for p in parameters) for parameters in named.values())
        return (*shapes, *(getattr(self, f.name) for f in fields(self) if f.name not in named))

    def moved(self, batch: Number, sequence: Number) -> Number:
        """Elements that everything but matrix kernels reads or writes."""
        elements = self.elementwise * (batch * sequence)
        more = self.elementwise_per_sequence + self.elementwise_per_pair * sequence**2
        return elements + batch * more

    def launches(self, sequence: Number) -> Number:
        """Kernels of one lane, in half precision."""
        return self.kernels + self.kernels_per_token * sequence

    @property
    def rows(self) -> int:
        return sum(p.rows for p in self.parameters)

    def buffer_bytes(self, dtype: Dtype, rest: Dtype | None = None) -> int:
        """The unit as one flat buffer: its tensors and their scales, each at a multiple of 256.

        ``rest`` is the format of what an integer format leaves as it is, and of its scales.
        """
        return _buffer_bytes(self.parameters, dtype, rest)

    def decoded(self, dtype: Dtype) -> "Unit":
        """What of the unit a lane cannot read while it is stored in an integer format."""
        taken = (p for p in self.parameters if is_linear(p.name, p.shape) or not dtype.is_integer)
        return Unit(parameters=tuple(taken))

    def read_bytes(self, dtype: Dtype) -> int:
        """The same with what the unit borrows."""
        shared = sum(aligned(p.elements * dtype.bytes) for p in self.borrowed)
        return self.buffer_bytes(dtype) + shared

    def beside(self, rank: int | None, storage: Dtype) -> tuple[int, ...]:
        """Elements of every tensor that trains beside the frozen unit.

        Two for each linear layer, rank x in and out x rank, where adapters have a ``rank``; else
        the scales of each weight that the integer format ``storage`` encodes.
        """
        if rank is not None:
            return tuple(rank * side for shape in self.linear_shapes for side in shape)
        linear = (p for p in self.parameters if is_linear(p.name, p.shape))
        return tuple(TensorFormat(storage).num_groups(p.shape) for p in linear)

    def beside_bytes(self, rank: int | None, storage: Dtype, dtype: Dtype) -> int:
        """The same in a flat buffer in ``dtype``, each tensor at a multiple of 256."""
        return sum(aligned(elements * dtype.bytes) for elements in self.beside(rank, storage))


@dataclass(frozen=True, kw_only=True)
class Model:
    """A transformer as units in execution order.

    A parameter that head and tail share (tied embeddings) is listed once, in the head, and the
    tail borrows it. ``buffers`` are non-parameter tensors kept on the device. ``max_positions`` is
    how long a sequence the model was made for; where positions are ``learned``, a table has a row
    for each, and there are no more. ``notes`` say where the shapes come from, where a family's
    reader did not make them, and what was decided about the model's inputs.
    """

    name: str
    family: str
    hidden: int
    vocab: int
    max_positions: int | None
    head: Unit
    blocks: tuple[Unit, ...]
    tail: Unit
    buffer_elements: int = 0
    learned: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError(f"{self.name}: a model must have at least 1 block; got none")

    def exceeds(self, sequence: int) -> bool:
        """Whether a sequence is longer than the model was made for."""
        return self.max_positions is not None and sequence > self.max_positions

    def check_length(self, sequence: int) -> None:
        """Raise ``ValueError`` where positions are learned, and a sequence has more."""
        if self.learned and self.exceeds(sequence):
            raise ValueError(
                f"sequence must be at most {self.max_positions} for {self.name}, whose positions "
                f"are learned one by one; got {sequence}; use sequence={self.max_positions} or less"
            )

    def shortened(self, sequence: int) -> int:
        """A sequence that nobody chose: no longer than positions that are learned one by one."""
        return min(sequence, self.max_positions or sequence) if self.learned else sequence

    @cached_property
    def elements(self) -> int:
        """Parameter count; equals ``sum(p.numel() for p in model.parameters())``."""
        return self.head.elements + sum(b.elements for b in self.blocks) + self.tail.elements

    def flops(self, batch: int, sequence: int) -> float:
        """Multiplications and additions of one forward pass; PyTorch's counter says the same."""
        units = (self.head, *self.blocks, self.tail)
        kernels = (kernel for unit in units for kernel in (*unit.gemms, *unit.attentions))
        return sum(kernel.flops(batch, sequence) for kernel in kernels)

    @cached_property
    def first_alike(self) -> tuple[int, ...]:
        """For every block the number of the first block that equals it but for names."""
        first: dict[object, int] = {}
        keys = (block.kernels_and_sizes for block in self.blocks)
        return tuple(first.setdefault(key, number) for number, key in enumerate(keys))

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    @property
    def tied(self) -> bool:
        """Whether the tail reads a weight of the head, too."""
        return bool(self.tail.borrowed)

    @property
    def shared_elements(self) -> int:
        """Elements of the head's weights that the tail of a tied model reads, too."""
        return sum(p.elements for p in self.tail.borrowed)

    def untied(self) -> "Model":
        """The model with an LM head of its own where it shares the embedding's weight."""
        if not self.tied:
            return self
        own = (replace(p, name="lm_head.weight") for p in self.tail.borrowed)
        tail = replace(self.tail, parameters=(*self.tail.parameters, *own), borrowed=())
        return replace(self, name=f"{self.name}:untied", tail=tail)

    def __hash__(self) -> int:
        return hash((self.name, len(self.blocks), self.tied))


@lru_cache(maxsize=4096)  # a prediction asks hundreds of times; a block of experts has 600 tensors
def _buffer_bytes(parameters: tuple[Parameter, ...], dtype: Dtype, rest: Dtype | None) -> int:
    return sum(aligned(p.format(dtype, rest).num_bytes(p.shape)) for p in parameters)


def is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter of a block is the weight of a linear layer, which integer formats encode.

    That is a matrix called ``weight``, or a stack of matrices (experts): what transformers and
    compressed-tensors quantise. Routers, tables of biases, norms and everything outside the blocks
    keep the float format. GPT-2 stores its weights as (in, out), so its rows, and with them its
    groups, run along the output.
    """
    module, _, leaf = name.replace(_ADAPTED, "").rpartition(".")
    if len(shape) not in (2, 3) or min(shape[-2:]) < 2 or leaf.endswith("bias"):
        return False
    own = module.rpartition(".")[2]
    return own not in _ROUTERS and not own.endswith("bias") and (leaf == "weight" or len(shape) > 2)


def deeper(model: Model, num_blocks: int) -> Model:
    """The model with another number of blocks: its own, in their order, over and over."""
    blocks = tuple(model.blocks[i % model.num_blocks] for i in range(num_blocks))
    return replace(model, name=f"{model.name} with {num_blocks} blocks", blocks=blocks)


def aligned(num_bytes: int) -> int:
    """The bytes with what is left free before the next tensor."""
    return -(-num_bytes // TENSOR_GRAIN_BYTES) * TENSOR_GRAIN_BYTES
