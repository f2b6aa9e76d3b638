"""The gaussian's table: the normal quantile of (h + 0.5) / 65536 for every 16-bit h.

The file holds 65536 little-endian fp32, each the correctly rounded value. It was computed with
mpmath 1.3.0 (40 digits, one Newton step from scipy 1.17.1's ``ndtri``) and equals
``scipy.special.ndtri((arange(65536) + 0.5) / 65536).astype(float32)`` in every bit.
"""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).with_name("data") / "normal_quantile.f32"
SHA256 = "1cfbba1e07e34386a57626f82aeb43e6ed54ba70a3ea6b7d964dc66a841074a8"


@cache
def quantiles() -> NDArray[np.float32]:
    """T, read-only, of shape (65536,); a damaged file is refused."""
    content = PATH.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{PATH} must have SHA-256 {SHA256}; got {digest}: install the package again"
        )
    table = np.frombuffer(content, dtype="<f4").astype(np.float32)
    table.flags.writeable = False
    return table
