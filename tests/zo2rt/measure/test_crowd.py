"""Cores at once: who waits for another one takes longer, who does not takes as long."""

from collections.abc import Callable
from threading import Lock
from time import perf_counter, sleep

import pytest

from zo2rt.measure import crowd

_PARTS = {"cpu.crowded_ratio", "cpu.crowded_noise_ratio", "cpu.crowded_launch_ratio"}


def _timed(work: Callable[[], object]) -> float:
    start_s = perf_counter()
    work()
    return perf_counter() - start_s


def test_what_one_at_a_time_can_do_takes_twice_as_long_beside_another(
    monkeypatch: pytest.MonkeyPatch,
):
    lock = Lock()

    def alone_only() -> None:
        with lock:
            sleep(0.01)

    def work(key: str, what: Callable[[], object]) -> Callable[[int], crowd.Work]:
        return lambda _: lambda: {key: _timed(what)}

    monkeypatch.setattr(crowd, "_block", work("cpu.crowded_ratio", alone_only))
    at_once = work("cpu.crowded_launch_ratio", lambda: sleep(0.01))
    monkeypatch.setattr(crowd, "_launches", at_once)
    found = crowd.crowded_ratios(2, rounds=3)
    assert found["cpu.crowded_ratio"] > 1.4
    assert 1.0 <= found["cpu.crowded_launch_ratio"] < 1.4


def test_who_is_slower_alone_is_compared_with_itself(monkeypatch: pytest.MonkeyPatch):
    """Threads differ in size; in every second round the order turns around."""

    def sized(number: int) -> crowd.Work:
        return lambda: {"cpu.crowded_ratio": 1.0 + number}

    monkeypatch.setattr(crowd, "_block", sized)
    monkeypatch.setattr(crowd, "_launches", sized)
    monkeypatch.setattr(crowd, "_TURN_S", 0.0)
    assert crowd.crowded_ratios(3, rounds=4) == {"cpu.crowded_ratio": 1.0}


def test_devices_build_weights_run_tokens_and_launch():
    assert crowd.crowded_ratios(1, rounds=1).keys() == _PARTS
