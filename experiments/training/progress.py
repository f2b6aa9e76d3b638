"""What a run shows while it goes: a bar on stderr, where that is a terminal, and a way to stop."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from zo2rt.steps.outcome import Outcome

_MB = 1_000_000
_SMOOTHING = 0.95  # weight of what came before in the loss that is shown


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar with room for a few numbers; nothing at all where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(compact=True),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, expand=True) as bar:
        yield bar


def watcher(bar: Progress, title: str, *, total: int, done: int) -> Callable[[Outcome], None]:
    """Shows each step as it ends: loss (smoothed), g, tokens per second, exposed share."""
    task = bar.add_task(title, total=total, completed=done, numbers="")
    smooth: float | None = None

    def watch(line: Outcome) -> None:
        nonlocal smooth
        if line.loss is not None:
            smooth = line.loss if smooth is None else _blend(smooth, line.loss)
        bar.update(task, completed=line.step + 1, numbers=_numbers(line, smooth))

    return watch


def counter(bar: Progress, title: str, *, total: int) -> Callable[[float], None]:
    """Counts steps of which there is nothing to tell but the loss."""
    tasks: list[TaskID] = []

    def count(loss: float) -> None:
        if not tasks:  # a bar that never moves is not shown
            tasks.append(bar.add_task(title, total=total, numbers=""))
        bar.update(tasks[0], advance=1, numbers=f"loss {loss:.3f}")

    return count


def reader(bar: Progress) -> Callable[[int, int], None]:
    """Shows how much of a model's weights was read; a model is read more than once."""
    tasks: list[TaskID] = []
    read = 0

    def show(num_bytes: int, total: int) -> None:
        nonlocal read
        read += num_bytes
        if not tasks:
            tasks.append(bar.add_task("reading weights, MB", total=total // _MB, numbers=""))
        passes, rest = divmod(read, total)
        bar.update(tasks[0], completed=rest // _MB, numbers=f"pass {passes + 1}")

    return show


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C, or a polite kill, asks for a stop after the step; a second one stops at once.

    Where no step is left, the first one changes nothing.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _blend(before: float, now: float) -> float:
    return _SMOOTHING * before + (1.0 - _SMOOTHING) * now


def _numbers(line: Outcome, smooth: float | None) -> str:
    loss = "none" if smooth is None else f"{smooth:.3f}"
    g = "skipped" if line.g is None else f"{line.g:+.2f}"
    assert line.wall_s is not None and line.exposed_s is not None, "it has just ended"  # noqa: PT018
    exposed = line.exposed_s / line.wall_s
    return f"loss {loss} g {g} {line.tokens_per_s:.0f} tok/s exposed {exposed:.0%}"
