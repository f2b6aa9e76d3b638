"""The wire codec on one core: a block into a plain or a scaled format, and out of it.

And out of the integer formats, which frozen blocks are stored in.
"""

from collections.abc import Iterator
from functools import partial

import torch

from zo2rt.measure.timing import Bench, Work, far
from zo2rt.model.codec import decode, encode
from zo2rt.model.layout import WireLayout
from zo2sim.cost.cpu import codec_amounts, floats
from zo2sim.dtypes import Dtype, TensorFormat

_ELEMENTS = (1 << 17, 1 << 19, 3 << 20)
_ROW = 512


def codecs() -> Iterator[Bench]:
    """By size, what a step takes of each; what a call costs is the loop's own."""
    both = [(what, wire) for wire in (Dtype.BF16, Dtype.FP8) for what in ("encode", "decode")]
    for what, wire in (*both, ("decode", Dtype.INT8), ("decode", Dtype.INT4)):
        for size in _ELEMENTS:
            taken = codec_amounts(what, wire, float(size), calls=0)
            yield Bench(
                group="codec in a loop",
                name=f"{what} {wire} {size}",
                amounts=floats(taken) | {"bench.call_s": 1.0},
                prepare=partial(_work, what, wire, size),
            )


def _work(what: str, wire: Dtype, size: int) -> Work:
    layout = WireLayout.mixed([(TensorFormat(wire), (size // _ROW, _ROW))])
    wide = far(lambda: torch.randn(size // _ROW, _ROW), 4 * size)
    narrow = far(partial(_stored, layout, random=wire.is_integer), layout.num_bytes)
    if what == "encode":
        return lambda: encode([next(wide)], next(narrow), layout)
    return lambda: decode(next(narrow), layout, [next(wide)])


def _stored(layout: WireLayout, *, random: bool) -> torch.Tensor:
    buffer = torch.zeros(layout.num_bytes, dtype=torch.uint8)
    if random:
        encode([torch.randn(piece.shape) for piece in layout.pieces], buffer, layout)
    return buffer
