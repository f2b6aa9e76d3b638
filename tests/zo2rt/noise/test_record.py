"""Records: coefficients in float64, rounded once, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from zo2rt.noise import Record

GRADIENTS = (0.1, -0.7, 0.9)
RECORD = Record(
    step=7, sample_keys=(1, 2, 3), projected_gradients=GRADIENTS, lr=1e-6,
    weight_decay=0.01, eps=1e-3,
)  # fmt: skip


def test_coefficients_are_rounded_once_from_float64() -> None:
    expected = [float(np.float32(np.float64(1e-6) * g / 3)) for g in GRADIENTS]
    assert list(RECORD.coefficients) == expected
    rounded_thrice = [float(np.float32(1e-6) * np.float32(g) / np.float32(3)) for g in GRADIENTS]
    assert rounded_thrice != expected


def test_decay_is_one_minus_lr_times_weight_decay() -> None:
    assert RECORD.decay == float(np.float32(1 - 1e-6 * 0.01))
    assert replace(RECORD, weight_decay=0.0).decay == 1.0


@pytest.mark.parametrize("gradients", [(), (1.0,), (1.0,) * 4])
def test_one_gradient_per_key(gradients: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=f"step 7: .* got 3 keys and {len(gradients)} gradients"):
        replace(RECORD, projected_gradients=gradients)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one; got 0 keys"):
        replace(RECORD, sample_keys=(), projected_gradients=())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_gradient_that_cannot_be_applied_must_be_skipped(bad: float) -> None:
    gradients = (0.1, bad, 0.3)
    with pytest.raises(ValueError, match="must be recorded with skipped=True"):
        replace(RECORD, projected_gradients=gradients, lr=1.0)
    assert replace(RECORD, projected_gradients=gradients, lr=1.0, skipped=True).skipped


@pytest.mark.parametrize("key", [-1, 2**64])
def test_keys_have_64_bits(key: int) -> None:
    with pytest.raises(ValueError, match=f"step 7: keys must be in .* got {key}"):
        replace(RECORD, sample_keys=(1, key, 3))
