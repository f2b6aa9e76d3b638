"""Weights as whole numbers of steps: one specification, several implementations.

int8 has a scale s per row, int4 one per group of 128 along a row (`zo2sim.dtypes.TensorFormat`); a
row of four-bit codes puts element 2 i into the low half of byte i. A weight is
``W = rn((u - z) s)`` in fp32, where rn rounds to the format that W is wanted in. int8: u is the
byte as two's complement and z = 0. int4: u is 0 to 15 and z = 8. int4_asym: z is 0 to 15, a byte
per group. That is what compressed-tensors, GPTQ and AWQ define, in another order.

Scales have the compute dtype. u - z has five bits and a half-precision scale eleven, so their
product is exact in fp32, and W the format's exact value rounded once.

**Encoding** rounds to nearest. Symmetric: ``s = max |w| / 7.5`` (int8: 127.5), so that all sixteen
codes are used. With zero points: ``s = (max(w, 0) - min(w, 0)) / 15`` and z = rn(-min(w, 0) / s).
Then ``u = rn(w / s) + z``, cut to what the format holds. s is rounded up to its format, so no
weight is further than half a step from what is encoded. Weights must be finite.

`encoding` and `decoding` are the fronts; behind them are `kernels` (numba) and, to decode on an
accelerator, `triton_kernels`, bit for bit the same. `published` reads checkpoints that others made.
"""

from zo2rt.model.integers.decoding import Encoded
from zo2rt.model.integers.encoding import encode

__all__ = ["Encoded", "encode"]
