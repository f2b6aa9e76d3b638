"""Updates: coefficients in float64, rounded once, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from zo2rt.noise import Draw, Update

GRADIENTS = (0.1, -0.7, 0.9)
DRAWS = tuple(Draw(key=key, g=g) for key, g in enumerate(GRADIENTS))
UPDATE = Update(draws=DRAWS, lr=1e-6, weight_decay=0.01)


def test_coefficients_are_rounded_once_from_float64() -> None:
    expected = [float(np.float32(np.float64(1e-6) * g / 3)) for g in GRADIENTS]
    assert list(UPDATE.coefficients) == expected
    rounded_thrice = [float(np.float32(1e-6) * np.float32(g) / np.float32(3)) for g in GRADIENTS]
    assert rounded_thrice != expected


def test_decay_is_one_minus_lr_times_weight_decay() -> None:
    assert UPDATE.decay == float(np.float32(1 - 1e-6 * 0.01))
    assert replace(UPDATE, weight_decay=0.0).decay == 1.0


def test_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one draw; got none"):
        replace(UPDATE, draws=())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_gradient_that_cannot_be_applied_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="a step that diverged must be skipped"):
        replace(UPDATE, draws=(*DRAWS, Draw(key=3, g=bad)), lr=1.0)


def test_a_decay_that_cannot_be_applied_is_refused() -> None:
    with pytest.raises(ValueError, match="1 - lr wd must be finite in fp32"):
        replace(UPDATE, weight_decay=1e300)


@pytest.mark.parametrize("key", [-1, 2**64])
def test_keys_have_64_bits(key: int) -> None:
    with pytest.raises(ValueError, match=f"a noise key must be in .* got {key}"):
        Draw(key=key, g=0.0)
