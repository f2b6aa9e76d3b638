"""How large everything is: on a card, and in a rehearsal on a processor."""

from dataclasses import dataclass

from zo2rt.measure.device_kernels import Sizes as KernelSizes
from zo2sim.dtypes import Dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """``load_s`` is how long the large product runs in a whole day, read every ``window_s``.

    ``tests`` are pytest's arguments. ``compute`` is the format of configurations; None: as they are
    stored. ``large_bytes_per_s`` is how much of a large model is set up and stepped per second.
    """

    kernels: KernelSizes
    copies: tuple[int, ...]
    both_ways_bytes: int
    effort: float
    product: int
    load_s: float
    window_s: float
    tests: tuple[str, ...]
    width: int
    layers: int
    vocab: int
    large_width: int
    most_layers: int
    most_tokens: int
    sequence: int
    compute: Dtype | None
    large_bytes_per_s: float = 0.5e9


CARD = Sizes(
    kernels=KernelSizes(),
    copies=(1 << 16, 1 << 20, 1 << 24, 1 << 26, 1 << 28),
    both_ways_bytes=1 << 28,
    effort=0.4,
    product=8192,
    load_s=30.0,
    window_s=0.5,
    tests=("-m", "gpu", "tests/zo2rt"),
    width=2048,
    layers=12,
    vocab=8192,
    large_width=5120,
    most_layers=400,
    most_tokens=1 << 15,
    sequence=512,
    compute=None,
)
REHEARSAL = Sizes(
    kernels=KernelSizes(
        rows=(16,), widths=(32, 64), sequences=(16,), heads=(2,), elements=(1 << 10, 1 << 12)
    ),
    copies=(1 << 12, 1 << 16),
    both_ways_bytes=1 << 16,
    effort=0.1,
    product=64,
    load_s=1.0,
    window_s=0.02,
    tests=("tests/zo2rt/backends/test_backends.py", "-k", "host and copies"),
    width=64,
    layers=3,
    vocab=256,
    large_width=128,
    most_layers=5,
    most_tokens=32,
    sequence=16,
    compute=Dtype.FP32,
)
