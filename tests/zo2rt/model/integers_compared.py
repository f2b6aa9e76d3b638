"""Compares the Triton kernel with numba's on a device; run by `test_integers_triton`.

The device is the argument: ``cpu`` where Triton interprets, else an accelerator's name.
"""

import itertools
import sys
from dataclasses import replace

import torch

from zo2rt.model.codec import TORCH_DTYPES, encode, encoded
from zo2rt.model.integers import Encoded, accelerator
from zo2rt.model.layout import WireLayout
from zo2sim.dtypes import Dtype, TensorFormat

_DEVICE = sys.argv[1]
_FORMATS = (Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM)
_FLOATS = (Dtype.FP32, Dtype.FP16, Dtype.BF16)
_SHAPES = ((3, 1300), (2, 3, 129))


def _weights(shape: tuple[int, ...], scale: Dtype) -> torch.Tensor:
    """Over many magnitudes, so that groups have scales at both ends of what fp16 holds."""
    drawn = torch.Generator().manual_seed(3)
    values = torch.randn(shape, generator=drawn)
    return (values * 10.0 ** torch.randint(-7, 4, shape, generator=drawn)).to(TORCH_DTYPES[scale])


def _encoded(weights: torch.Tensor, dtype: Dtype, scale: Dtype) -> Encoded:
    layout = WireLayout.mixed([(TensorFormat(dtype, scale), tuple(weights.shape))])
    buffer = torch.empty(layout.num_bytes, dtype=torch.uint8)
    encode([weights], buffer, layout)
    return encoded(buffer, layout.pieces[0])


def _there(one: Encoded) -> Encoded:
    zeros = None if one.zeros is None else one.zeros.to(_DEVICE)
    return replace(one, codes=one.codes.to(_DEVICE), zeros=zeros, scales=one.scales.to(_DEVICE))


def _equal(one: Encoded, out: torch.dtype) -> bool:
    want = torch.empty(one.shape, dtype=out)
    one.decode(want)
    got = torch.empty(one.shape, dtype=out, device=_DEVICE)
    accelerator.launch(_there(one), got.view(-1, one.shape[-1]))
    return torch.equal(got.cpu().view(torch.uint8), want.view(torch.uint8))


def main() -> None:
    """One line per comparison, ending in ``equal`` or ``different``."""
    for dtype, scale, out, shape in itertools.product(_FORMATS, _FLOATS, _FLOATS, _SHAPES):
        one = _encoded(_weights(shape, scale), dtype, scale)
        equal = "equal" if _equal(one, TORCH_DTYPES[out]) else "different"
        sys.stdout.write(f"{dtype} scales {scale} weights {out} {shape}: {equal}\n")


if __name__ == "__main__":
    main()
