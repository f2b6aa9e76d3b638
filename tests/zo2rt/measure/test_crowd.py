"""Cores at once: who waits for another one takes longer, who does not takes as long."""

from threading import Lock
from time import sleep

import pytest

from zo2rt.measure import crowd


def test_what_one_at_a_time_can_do_takes_twice_as_long_beside_another(
    monkeypatch: pytest.MonkeyPatch,
):
    lock = Lock()

    def alone_only() -> None:
        with lock:
            sleep(0.01)

    monkeypatch.setattr(crowd, "_product", lambda: alone_only)
    monkeypatch.setattr(crowd, "_noise", lambda: lambda: sleep(0.01))
    monkeypatch.setattr(crowd, "_launches", lambda: lambda: sleep(0.01))
    found = crowd.crowded_ratios(2, rounds=3)
    assert found["cpu.crowded_ratio"] > 1.4
    assert found["cpu.crowded_launch_ratio"] < 1.4
    assert found["cpu.crowded_noise_ratio"] < 1.4
    assert min(found.values()) >= 1.0
