"""The layers that units are made of, and the one rule by which their work is counted.

[Note: counting rule] The counts are those of an eager PyTorch forward of transformers 5 in half
precision: eval mode, one sequence, SDPA attention, no padding mask, no KV cache, no loss.

- ``kernels``: every dispatched operation that is neither a view nor an allocation is one launch,
  matrix multiplications and attention included. A linear layer fuses its bias.
- ``elementwise``: each launch other than a matrix multiplication or attention reads its
  activation operands and writes its result once; weights and per-token scalars are left out. A
  look-up reads as much as it writes. An fp32 intermediate counts as two elements, so elements x
  2 bytes is the traffic of a half-precision forward. ``cast_elements`` are those that an fp32
  forward does without: the casts of an RMS norm, and one of the two of each intermediate;
  ``cast_kernels`` the casts themselves.
- Attention is one fused kernel, also with Gemma 2's soft cap, which SDPA lacks.

The loss is not counted here: it depends on what the user asks for.
"""

from collections.abc import Iterable
from dataclasses import replace

from zo2sim.models.shapes import Attention, Gemm, Parameter, Unit

_ACTIVATIONS = {
    "relu": (1, 2),
    "silu": (1, 2),
    "swish": (1, 2),
    "gelu": (1, 2),
    "gelu_pytorch_tanh": (1, 2),
    "tanh": (1, 2),
    "gelu_new": (8, 18),  # spelled out in eight operations, two of which read two operands
}
"""Kernels, and elements per element, of each activation function."""

ACTIVATIONS = tuple(_ACTIVATIONS)

POSITION_KERNELS = 2  # position numbers: range, offset
MASK_KERNELS = 8  # the check for packed sequences, once per kind of mask


Part = Unit
"""A layer: parts add up to a unit."""


def unit(*parts: Part, attention: Attention | None = None) -> Unit:
    """The parts in one unit; the attention kernel adds its launch."""
    return Unit(
        parameters=tuple(p for part in parts for p in part.parameters),
        gemms=tuple(g for part in parts for g in part.gemms),
        attentions=() if attention is None else (attention,),
        elementwise=sum(part.elementwise for part in parts),
        cast_elements=sum(part.cast_elements for part in parts),
        kernels=sum(part.kernels for part in parts) + (attention is not None),
        cast_kernels=sum(part.cast_kernels for part in parts),
        linear_shapes=tuple(s for part in parts for s in part.linear_shapes),
        borrowed=tuple(p for part in parts for p in part.borrowed),
    )


def blocks(stem: str, templates: Iterable[Unit]) -> tuple[Unit, ...]:
    """Block i is template i with its parameters named under ``stem``.i; the rest is shared."""
    return tuple(_under(f"{stem}.{i}.", template) for i, template in enumerate(templates))


def _under(prefix: str, template: Unit) -> Unit:
    named = tuple(Parameter(name=prefix + p.name, shape=p.shape) for p in template.parameters)
    return replace(template, parameters=named)


def linear(name: str, out: int, inp: int, *, bias: bool = False, transposed: bool = False) -> Part:
    """A linear layer; ``transposed`` stores the weight as (in, out), as GPT-2's Conv1D does."""
    weight = Parameter(name=f"{name}.weight", shape=(inp, out) if transposed else (out, inp))
    biases = (Parameter(name=f"{name}.bias", shape=(out,)),) if bias else ()
    gemm = Gemm(n=out, k=inp, bias=bias)
    return Part(parameters=(weight, *biases), gemms=(gemm,), kernels=1, linear_shapes=((out, inp),))


def resident_linear(name: str, out: int, inp: int) -> Part:
    """A linear layer outside the blocks: no adapters."""
    return replace(linear(name, out, inp), linear_shapes=())


def lm_head(vocab: int, width: int, *, tied_to: str | None) -> Part:
    """The layer that gives the logits, with a weight of its own or the embedding's."""
    part = resident_linear(tied_to or "lm_head", vocab, width)
    return part if tied_to is None else replace(part, parameters=(), borrowed=part.parameters)


def embedding(name: str, rows: int, width: int) -> Part:
    """A table of which each token looks up one row."""
    table = Parameter(name=f"{name}.weight", shape=(rows, width))
    return Part(parameters=(table,), elementwise=2 * width, kernels=1)


def layer_norm(name: str, width: int, *, affine: bool = True) -> Part:
    """One fused kernel, with weight and bias."""
    names = ("weight", "bias") if affine else ()
    parameters = tuple(Parameter(name=f"{name}.{n}", shape=(width,)) for n in names)
    return Part(parameters=parameters, elementwise=2 * width, kernels=1)


def rms_norm(name: str, width: int, *, heads: int = 1, offset: bool = False) -> Part:
    """Cast, square, mean, add, rsqrt, multiply, cast, multiply by the weight; over ``heads`` rows.

    ``offset`` is Gemma's form: 1 + weight, multiplied in fp32 before the cast back.
    """
    return Part(
        parameters=(Parameter(name=f"{name}.weight", shape=(width,)),),
        elementwise=(20 if offset else 18) * width * heads,
        cast_elements=(13 if offset else 11) * width * heads,
        kernels=10 if offset else 8,
        cast_kernels=3 if offset else 2,
    )


def residual(width: int) -> Part:
    """Addition of two activations."""
    return Part(elementwise=3 * width, kernels=1)


def scale(width: int) -> Part:
    """Multiplication by a scalar, in a kernel of its own."""
    return Part(elementwise=2 * width, kernels=1)


def activation(kind: str, width: int) -> Part:
    """An activation function from `ACTIVATIONS`."""
    kernels, elements = _ACTIVATIONS[kind]
    return Part(elementwise=elements * width, kernels=kernels)


def gate(kind: str, width: int) -> Part:
    """activation(gate) x up."""
    function = activation(kind, width)
    return Part(elementwise=function.elementwise + 3 * width, kernels=function.kernels + 1)


def rotate(heads: int, head_dim: int) -> Part:
    """Rotary embedding of queries or keys: two products, negation, concatenation, sum."""
    return Part(elementwise=10 * heads * head_dim + 2 * head_dim, kernels=5)


def rotary_table(head_dim: int) -> Part:
    """Cosines and sines of one forward, in fp32, cast at the end."""
    return Part(elementwise=27 * head_dim, kernels=10, cast_kernels=3)


def launches(kernels: int) -> Part:
    """Small integer kernels: position numbers and mask bookkeeping."""
    return Part(kernels=kernels)
