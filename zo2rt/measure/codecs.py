"""The wire codec on one core: a block into a plain or a scaled format, and out of it."""

from collections.abc import Iterator
from functools import partial

import torch

from zo2rt.measure.timing import Bench, Work, far
from zo2rt.model.codec import WireLayout, decode, encode
from zo2sim.cost.cpu import codec_amounts, floats
from zo2sim.dtypes import Dtype

_ELEMENTS = (1 << 17, 1 << 19, 3 << 20)
_ROW = 512


def codecs() -> Iterator[Bench]:
    """Both ways, both kinds of format, by size; what a call costs is the loop's own."""
    for wire in (Dtype.BF16, Dtype.FP8):
        for what in ("encode", "decode"):
            for size in _ELEMENTS:
                taken = codec_amounts(what, wire, float(size), calls=0)
                yield Bench(
                    group="codec in a loop",
                    name=f"{what} {wire} {size}",
                    amounts=floats(taken) | {"bench.call_s": 1.0},
                    prepare=partial(_work, what, wire, size),
                )


def _work(what: str, wire: Dtype, size: int) -> Work:
    layout = WireLayout.of(wire, [(size // _ROW, _ROW)])
    wide = far(lambda: torch.randn(size // _ROW, _ROW), 4 * size)
    narrow = far(lambda: torch.zeros(layout.num_bytes, dtype=torch.uint8), layout.num_bytes)
    if what == "encode":
        return lambda: encode([next(wide)], next(narrow), layout)
    return lambda: decode(next(narrow), layout, [next(wide)])
