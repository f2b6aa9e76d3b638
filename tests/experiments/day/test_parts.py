"""Parts in a budget: what is done, cut, failed and skipped, and what is told after each."""

from collections.abc import Callable, Sequence
from time import monotonic, sleep

import pytest
import torch

from experiments.day import parts as module
from experiments.day.parts import WHOLE_S, Deadline, Outcome, Part, TimeUp, run_parts


def part(name: str, run: Callable[[Deadline], str], most_s: float = 10.0, **more: float) -> Part:
    return Part(name=name, most_s=most_s, run=run, **more)


def done(_: Deadline) -> str:
    return "all of it"


def raising(error: BaseException) -> Callable[[Deadline], str]:
    def run(_: Deadline) -> str:
        raise error

    return run


def told(parts: Sequence[Part], budget_s: float = WHOLE_S) -> list[str]:
    """The outcomes as they were told last, whatever came out of the run."""
    seen: list[Sequence[Outcome]] = []
    try:
        run_parts(parts, budget_s, monotonic(), lambda o: seen.append([*o]))
    except KeyboardInterrupt:
        seen[-1] = [*seen[-1], Outcome(part="", status="done", why="raised", seconds=0.0)]
    return [f"{o.part} {o.status}: {o.why}".strip() for o in seen[-1]]


def test_after_a_fault_the_next_part_runs():
    full = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
    assert told(
        [part("a", raising(full)), part("b", raising(ValueError("no"))), part("c", done)]
    ) == [
        "a failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "b failed: ValueError: no",
        "c done: all of it",
    ]


def test_the_cause_of_a_failed_stream_is_told():
    error = RuntimeError("work on h2d failed")
    error.__cause__ = MemoryError("no pages")
    assert told([part("a", raising(error))]) == [
        "a failed: RuntimeError: work on h2d failed; MemoryError: no pages"
    ]


def test_an_interruption_is_told_and_passes_on():
    parts = [part("a", done), part("b", raising(KeyboardInterrupt())), part("c", done)]
    assert told(parts) == [
        "a done: all of it",
        "b failed: interrupted",
        "c skipped: interrupted",
        "done: raised",
    ]


def test_every_part_is_told_of_at_once():
    seen: list[int] = []
    run_parts(
        [part("a", done), part("b", done)], WHOLE_S, monotonic(), lambda o: seen.append(len(o))
    )
    assert seen == [1, 2]


def test_shares_are_scaled_with_the_budget():
    left: list[float] = []

    def run(deadline: Deadline) -> str:
        left.append(deadline.left_s)
        return ""

    told([part("a", run, 48.0), part("b", run, 48.0)], budget_s=WHOLE_S / 10)
    assert left == [pytest.approx(4.8, abs=0.1), pytest.approx(48.0, abs=0.1)], "the last has all"


def test_what_later_parts_are_to_have_is_kept_for_them():
    left: list[float] = []

    def run(deadline: Deadline) -> str:
        left.append(deadline.left_s)
        return ""

    told([part("a", run, WHOLE_S), part("b", run, 100.0, kept_s=80.0)])
    assert left == [pytest.approx(400.0, abs=0.1), pytest.approx(480.0, abs=0.1)]


def test_what_there_is_no_time_for_is_skipped():
    def slow(_: Deadline) -> str:
        sleep(0.1)
        return ""

    scale = 0.11 / WHOLE_S
    assert told([part("a", slow, WHOLE_S), part("b", done, WHOLE_S / 2)], budget_s=0.11)[1] == (
        f"b skipped: no time: 0 s left of the {WHOLE_S / 2 * scale:.0f} s that it may take"
    )


def test_a_part_that_looks_at_its_deadline_is_cut_there():
    def run(deadline: Deadline) -> str:
        while True:
            deadline.check()

    assert told([part("a", run, WHOLE_S / 100), part("b", done)], budget_s=20.0) == [
        "a cut: its time was up; what it had found counts",
        "b done: all of it",
    ]


def test_one_that_does_not_is_stopped_by_the_alarm():
    started_s = monotonic()

    def run(_: Deadline) -> str:
        sleep(30.0)
        return ""

    assert told([part("a", run, WHOLE_S)], budget_s=0.1) == [
        "a cut: its time was up; what it had found counts"
    ]
    assert monotonic() - started_s < 5.0


def test_an_alarm_that_is_swallowed_rings_again(monkeypatch: pytest.MonkeyPatch):
    """As in a finaliser, where Python ignores what is raised."""
    monkeypatch.setattr(module, "_RINGS_EVERY_S", 0.05)

    def run(_: Deadline) -> str:
        try:
            sleep(30.0)
        except TimeUp:
            sleep(30.0)
        return ""

    assert told([part("a", run, WHOLE_S)], budget_s=0.1)[0].startswith("a cut")
