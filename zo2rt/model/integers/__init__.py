"""Weights as whole numbers of steps: one specification, several implementations.

int8 has a scale s per row, int4 one per group of 128 along a row (`zo2sim.dtypes.TensorFormat`); a
row of four-bit codes puts element 2 i into the low half of byte i. A weight is
``W = rn((u - z) s)`` in fp32, where rn rounds to the format that W is wanted in. int8: u is the
byte as two's complement and z = 0. int4: u is 0 to 15 and z = 8. int4_asym: z is 0 to 15, a byte
per group. That is what compressed-tensors, GPTQ and AWQ define, in another order.

Scales have the compute dtype. u - z has at most eight digits, and a scale that `encode` makes has
eleven in half precision, sixteen (int8) or twenty in fp32, so their product is exact in fp32, and W
the format's exact value rounded once.

**Encoding** rounds to nearest. Symmetric: ``s = max(-min(w, 0) / 8, max(w, 0) / 7)`` (int8: 128 and
127). With zero points: ``s = (max(w, 0) - min(w, 0)) / 15`` and z = rn(-min(w, 0) / s). Then
``u = rn(w / s) + z``, cut to what the format holds. s is rounded up to its format, so no weight is
further than half a step from what is encoded; symmetric, it is the least number of a half precision
whose ``rn(8 s)`` and ``rn(7 s)`` (128 and 127) reach the extremes. Weights must be finite.

Symmetric weights that were decoded to the format of their scales are encoded to the same bytes
again, with scales that `encode` has made. With zero points in half precision each time loses a
little more: a model that was in an engine comes back rounded, and is loaded anew before another
engine, or a run that is resumed, takes it.

`encoding` and `decoding` are the fronts; behind them are `kernels` (numba) and, to decode on an
accelerator, `triton_kernels`, bit for bit the same. `published` decodes the layouts of checkpoints
that others made, for `zo2rt.checkpoint`.
"""

from zo2rt.model.integers.decoding import Encoded
from zo2rt.model.integers.encoding import check_finite, encode

ENCODING_VERSION = 2
"""Another one gives other codes or scales of the same weights."""

__all__ = ["ENCODING_VERSION", "Encoded", "check_finite", "encode"]
