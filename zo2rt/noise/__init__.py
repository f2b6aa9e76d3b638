"""Noise, version 1, and the update that applies it: one specification, several implementations.

z is a function of (run seed, step, sample, parameter, element) and of nothing else, so it is the
same on every device, for every tiling, thread count and schedule. `reference` is this page in
numpy; `kernels` (numba) and `triton_kernels` (CUDA) agree with it bit for bit.

**Key.** ``k = 0; for v in (run seed, step, sample): k = mix(k + 0x9E3779B97F4A7C15 + v)``, modulo
2^64, where ``mix`` is the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014):
``x ^= x >> 30; x *= 0xBF58476D1CE4E5B9; x ^= x >> 27; x *= 0x94D049BB133111EB; x ^= x >> 31``.

**Words.** Philox4x32 with ten rounds (Salmon et al., SC 2011), key = (low, high) 32 bits of k,
counter = (j low, j high, p, w). p is the index of the parameter among the de-duplicated
``named_parameters()`` of the whole model, frozen ones included. w is 0 for noise and 1 for
stochastic rounding. Call j gives the words 0 to 3. Elements e are counted row-major in the
parameter's logical shape, with 64 bits.

**gaussian.** A word has two 16-bit halves, the low one first. Element ``8 j + 2 a + b`` is half b
of word a of call j, and z = T[half]. T[h] is the normal quantile of (h + 0.5) / 65536, correctly
rounded to fp32 (`table`). Variance 0.99998, kurtosis 2.999, magnitude below 4.33.

**rademacher.** Element e is bit ``e mod 32``, least significant first, of word
``(e mod 128) // 32`` of call ``e // 128``; z = 1 - 2 bit.

**torch.** MeZO's own noise, for comparison; it is sequential and lives apart, in `mezo`.

**Arithmetic.** fp32, every product and every sum rounded to nearest even on its own: no fused
multiply-add, subnormals kept. ``W = rn(theta + c z)`` with c rounded to fp32 first; rn rounds to
the format of W. One update of q draws is ``theta = rn(theta d - s)``, with
``d = fp32(1 - lr wd)`` and ``a_i = fp32(lr g_i / q)`` computed in float64 from left to right; s
starts as ``a_0 z_0`` and adds ``a_i z_i`` in ascending order; rn rounds to the format of theta
after every update. g = 0 still decays. A NaN stays a NaN, of any payload.

**Sparse-MeZO** (arXiv:2402.15751) trains the small weights only. A parameter may have a threshold
h, in fp32. The weights with ``|theta| <= h`` are trained; theta is the stored value that W is built
from, and the value that an update begins with, so of several updates each one compares anew. A
weight that is not trained has ``W = rn(theta)``, and an update leaves it as it is: no step, no
decay, no rounding. h = infinity, the default, trains every weight. A NaN is not trained where there
is a threshold; a NaN stays a NaN in any case.

**Stochastic rounding** (fp16 and bf16 masters; fp32 has nothing to round) replaces the rn of an
update. Element e draws a 16-bit half r exactly as for gaussian, but with w = 1 and the key of the
update's first draw. The magnitude is cut to the format's grid, and goes one grid point up when
``fraction 65536 + r >= 65536``, where fraction is the exact part of a grid step that was cut off.
Past the largest finite number lies infinity.
"""

from zo2rt.noise.devices import Prepared, perturb, perturb_pair, prepared, update
from zo2rt.noise.extent import Distribution, Extent
from zo2rt.noise.keys import sample_key
from zo2rt.noise.sparsity import thresholds
from zo2rt.noise.threads import split
from zo2rt.noise.updates import Draw, Update, Updates, coefficients

NOISE_VERSION = 1
"""Goes into every journal header: another version means other bits."""

__all__ = [
    "NOISE_VERSION",
    "Distribution",
    "Draw",
    "Extent",
    "Prepared",
    "Update",
    "Updates",
    "coefficients",
    "perturb",
    "perturb_pair",
    "prepared",
    "sample_key",
    "split",
    "thresholds",
    "update",
]
