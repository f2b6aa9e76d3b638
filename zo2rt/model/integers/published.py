"""Linear weights of checkpoints that are quantised already, exactly as their formats define them.

A format is a set of tensors for each linear layer, packed into int32 with the first value in the
low bits. All mean ``W[o, i] = rn((u[o, i] - z[o, g]) s[o, g])`` with g the group of input i, and rn
to the format of the scales; they differ in the order in which they keep u, z and s.

- compressed-tensors, ``pack-quantized``: u along the input in ``weight_packed`` (out, words); s in
  ``weight_scale`` (out, groups); z, where there are zero points, along the output in
  ``weight_zero_point``; ``weight_shape``. Values are signed, stored with half the range added.
- GPTQ: u along the input in ``qweight`` (words, out), z along the output in ``qzeros`` (groups,
  words), s in ``scales`` (groups, out), g in ``g_idx``. The first version of the format stores
  z - 1, the second z (``checkpoint_format`` gptq or gptq_v2 in the config).
- AWQ (GEMM): u along the output in ``qweight`` (in, words), z likewise in ``qzeros``, s in
  ``scales`` (groups, out). A word's eight values are outputs 0, 2, 4, 6, 1, 3, 5, 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_WORD_BITS = 32
_AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in a word each of eight outputs lies."""

Tensors = Mapping[str, Tensor]
"""Of one linear layer, by the last part of their names."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """One linear layer: ``codes`` (out, in), ``zeros`` and ``scales`` (out, groups).

    Codes and zeros are whole numbers from 0 on. ``group_of`` (in,) is the group of each input,
    which need not be in order.
    """

    codes: Tensor
    zeros: Tensor
    scales: Tensor
    group_of: Tensor

    def weights(self) -> Tensor:
        """(out, in), in the format of the scales; a half-precision product is rounded once."""
        group = self.group_of.to(torch.int64)
        steps = self.codes.to(torch.int32) - self.zeros.to(torch.int32)[:, group]
        return (steps * self.scales.to(torch.float32)[:, group]).to(self.scales.dtype)


def pack_quantized(tensors: Tensors, *, bits: int = 4) -> Quantised:
    """A layer of compressed-tensors; raises ``ValueError`` where it is not one."""
    packed, scales = _of(tensors, "weight_packed"), _of(tensors, "weight_scale")
    out, length = (int(n) for n in _of(tensors, "weight_shape").tolist())
    scales = scales.view(out, -1)
    zeros = tensors.get("weight_zero_point")
    if zeros is None:
        zeros = torch.full_like(scales, 2 ** (bits - 1), dtype=torch.int32)
    else:
        zeros = _unpacked(zeros.t(), bits).t()
    codes = _unpacked(packed, bits)
    return _quantised(
        codes[:, :length], zeros[:out], scales, tensors.get("weight_g_idx"), (out, length)
    )


def gptq(tensors: Tensors, *, bits: int = 4, version: int = 1) -> Quantised:
    """A layer of GPTQ; raises ``ValueError`` where it is not one."""
    qweight, qzeros = _of(tensors, "qweight"), _of(tensors, "qzeros")
    scales = _of(tensors, "scales").t()
    codes, zeros = _unpacked(qweight.t(), bits), _unpacked(qzeros, bits).t()
    if version == 1:
        zeros = (zeros + 1) & (2**bits - 1)
    return _quantised(codes, zeros, scales, tensors.get("g_idx"), (len(scales), codes.shape[1]))


def awq(tensors: Tensors) -> Quantised:
    """A layer of AWQ, four bits; raises ``ValueError`` where it is not one."""
    qweight, qzeros = _of(tensors, "qweight"), _of(tensors, "qzeros")
    scales = _of(tensors, "scales").t()
    codes, zeros = (_in_order(_unpacked(words, 4)).t() for words in (qweight, qzeros))
    return _quantised(codes, zeros, scales, None, (len(scales), codes.shape[1]))


def _of(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"a quantised layer must have {name}; it has {', '.join(sorted(tensors))}")
    return tensors[name]


def _unpacked(words: Tensor, bits: int) -> Tensor:
    """(rows, words) of int32 as (rows, values), first values in the low bits."""
    if words.dtype is not torch.int32 or _WORD_BITS % bits:
        raise ValueError(
            f"packed values must be int32 words of 4 or 8 bits each; got {words.dtype} of {bits}"
        )
    shifts = torch.arange(0, _WORD_BITS, bits, dtype=torch.int32)
    return ((words[..., None] >> shifts) & (2**bits - 1)).reshape(len(words), -1)


def _in_order(values: Tensor) -> Tensor:
    """Outputs of AWQ, eight at a time."""
    return values.view(len(values), -1, 8)[..., list(_AWQ_ORDER)].reshape(len(values), -1)


def _quantised(
    codes: Tensor, zeros: Tensor, scales: Tensor, group_of: Tensor | None, shape: tuple[int, int]
) -> Quantised:
    groups = scales.shape[1]
    if group_of is None:
        group_of = torch.arange(shape[1]) // -(-shape[1] // groups)
    sizes = [*codes.shape], [*zeros.shape], [*scales.shape], [*group_of.shape]
    if sizes != ([*shape], [shape[0], groups], [shape[0], groups], [shape[1]]):
        raise ValueError(
            f"codes, zero points, scales and groups of a layer of {shape} must have a row per "
            f"output, and a group per input; got {', '.join(map(str, sizes))}"
        )
    if shape[1] and not 0 <= int(group_of.min()) <= int(group_of.max()) < groups:
        raise ValueError(f"every input must be in one of {groups} groups; got {group_of.max()}")
    return Quantised(codes, zeros, scales, group_of)
