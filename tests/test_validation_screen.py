"""What a validation says on the screen beside its figures."""

import pytest

from experiments.validation_screen import drifted


@pytest.mark.parametrize(("drift", "how"), [(0.11, "11% slower"), (-0.21, "21% faster")])
def test_a_machine_that_changed_wants_another_calibration(drift: float, how: str):
    assert f"this machine is {how} than when it was calibrated" in drifted(drift)
    assert "calibrate again" in drifted(drift)
