"""Models as shapes: parameters per unit, and the kernels that one forward pass runs.

`zo2sim.models.config` builds them from a Hugging Face config.json; `zo2sim.models.presets` names
them.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from zo2sim.dtypes import Dtype, TensorFormat

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

    ``rows_per_token`` is below 1 where a router sends each token to some of the experts. With a
    ``bias``, C opens with a row of it and the product is added.
    """

    n: int
    k: int
    count: int = 1
    rows_per_token: float = 1.0
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Causal (or bidirectional) attention over the whole sequence."""

    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = True
    window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What moves together: the head, a block, or the tail.

    ``gemms`` and ``attentions`` are the matrix kernels of one forward pass; ``elementwise`` is the
    number of activation elements read or written per token by everything else (norms, residual
    additions, activation functions, embedding look-ups, biases) in half precision; the
    ``cast_elements`` among them vanish in fp32. ``kernels`` is the number of kernels launched per
    lane; the ``cast_kernels`` among them vanish in fp32, too. ``linear_shapes`` lists (out, in) of
    each linear layer, which is where LoRA adapters attach.
    """

    parameters: tuple[Parameter, ...] = ()
    gemms: tuple[Gemm, ...] = ()
    attentions: tuple[Attention, ...] = ()
    elementwise: int = 0
    cast_elements: int = 0
    kernels: int = 0
    cast_kernels: int = 0
    linear_shapes: tuple[tuple[int, int], ...] = ()

    @property
    def elements(self) -> int:
        return sum(p.elements for p in self.parameters)

    @property
    def kernels_and_sizes(self) -> object:
        """All that time and memory depend on: everything but the names of the parameters."""
        shapes = tuple(p.shape for p in self.parameters)
        return (
            shapes,
            self.gemms,
            self.attentions,
            self.elementwise,
            self.cast_elements,
            self.kernels,
            self.cast_kernels,
            self.linear_shapes,
        )

    @property
    def rows(self) -> int:
        return sum(p.rows for p in self.parameters)

    def buffer_bytes(self, dtype: Dtype, rest: Dtype | None = None) -> int:
        """The unit as one flat buffer: its tensors and their scales, each at a multiple of 256.

        ``rest`` is the format of what an integer format leaves as it is, and of its scales.
        """
        return sum(aligned(p.format(dtype, rest).num_bytes(p.shape)) for p in self.parameters)

    def decoded(self, dtype: Dtype) -> "Unit":
        """What of the unit a lane cannot read while it is stored in an integer format."""
        taken = (p for p in self.parameters if is_linear(p.name, p.shape) or not dtype.is_integer)
        return Unit(parameters=tuple(taken))

    def lora_elements(self, rank: int) -> int:
        """Elements of rank-``rank`` adapters on every linear layer: rank x (out + in) each."""
        return sum(rank * (out + inp) for out, inp in self.linear_shapes)

    def lora_bytes(self, rank: int, dtype: Dtype) -> int:
        """The adapters in a flat buffer: two tensors each, at multiples of 256."""
        sides = (side for shape in self.linear_shapes for side in shape)
        return sum(aligned(rank * side * dtype.bytes) for side in sides)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A transformer as units in execution order.

    A parameter that head and tail share (tied embeddings) is listed once, in the head; ``tied``
    says that the tail reads it too. ``buffers`` are non-parameter tensors kept on the device.
    ``max_positions`` is how long a sequence the model was made for; where positions are
    ``learned``, a table has a row for each, and there are no more.
    """

    name: str
    family: str
    hidden: int
    vocab: int
    max_positions: int | None
    tied: bool
    head: Unit
    blocks: tuple[Unit, ...]
    tail: Unit
    buffer_elements: int = 0
    learned: bool = False

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

    @cached_property
    def elements(self) -> int:
        """Parameter count; equals ``sum(p.numel() for p in model.parameters())``."""
        return self.head.elements + sum(b.elements for b in self.blocks) + self.tail.elements

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
    def shared_elements(self) -> int:
        """Elements of the head's weight that the tail of a tied model reads, too."""
        return self._embedding.elements if self.tied else 0

    @property
    def _embedding(self) -> Parameter:
        return next(p for p in self.head.parameters if p.shape[0] == self.vocab)

    def untied(self) -> "Model":
        """The model with an LM head of its own where it shares the embedding's weight."""
        if not self.tied:
            return self
        weight = Parameter(name="lm_head.weight", shape=self._embedding.shape)
        tail = replace(self.tail, parameters=(*self.tail.parameters, weight))
        return replace(self, name=f"{self.name}:untied", tied=False, tail=tail)

    def __hash__(self) -> int:
        return hash((self.name, len(self.blocks), self.tied))


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
