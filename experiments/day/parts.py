"""Parts in order of value, in a budget of time: each has its share, and a fault ends it alone.

[Note: two stops] A part looks at its deadline between measurements. What takes longer than that by
itself is stopped by an alarm, wherever it is.
"""

import gc
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Literal

Status = Literal["done", "cut", "failed", "skipped"]

WHOLE_S = 480.0
"""The budget that the shares of parts are meant for; with another one they are scaled."""
_LEAST_SHARE = 0.25  # of its share, below which a part is not begun
_GRACE = 0.15  # of its share, after which the alarm comes
_RINGS_EVERY_S = 10.0  # long enough for what was stopped to close what it had opened


class TimeUp(Exception):
    """A part has had its time; what it found until then counts."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a part's time is up, on the monotonic clock."""

    end_s: float

    @property
    def left_s(self) -> float:
        """Below 0 once it has passed."""
        return self.end_s - monotonic()

    def check(self) -> None:
        """Raise `TimeUp` once it has passed."""
        if self.left_s <= 0.0:
            raise TimeUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``run`` says in a few words what it found. ``most_s`` is its share of `WHOLE_S`, of which
    parts before it leave ``kept_s`` in any case. The last part may take all that is left."""

    name: str
    most_s: float
    run: Callable[[Deadline], str]
    kept_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a part; ``why`` is what it found, or why it did not. ``trace`` is Python's."""

    part: str
    status: Status
    why: str
    seconds: float
    trace: str = ""

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.part:<28} {self.status:<7} {self.seconds:5.1f} s  {self.why}"


Tell = Callable[[Sequence[Outcome]], None]
"""Is told after every part what has become of all."""


def run_parts(parts: Sequence[Part], budget_s: float, start_s: float, tell: Tell) -> list[Outcome]:
    """Run the parts, ``budget_s`` from ``start_s`` on the monotonic clock.

    A part that raises, memory errors included, is noted, and the next one runs. An interruption
    is noted too, and passes on.
    """
    outcomes: list[Outcome] = []
    for number, part in enumerate(parts):
        kept_s = sum(later.kept_s for later in parts[number + 1 :])
        scale = budget_s / WHOLE_S
        share_s = part.most_s * scale
        left_s = start_s + budget_s - kept_s * scale - monotonic()
        if number < len(parts) - 1:
            left_s = min(left_s, share_s)
        if left_s < _LEAST_SHARE * share_s:
            why = f"no time: {max(left_s, 0.0):.0f} s left of the {share_s:.0f} s that it may take"
            outcomes.append(Outcome(part=part.name, status="skipped", why=why, seconds=0.0))
        else:
            outcomes.append(_run(part, left_s))
        rest = parts[number + 1 :] if outcomes[-1].why == _INTERRUPTED else ()
        outcomes += [
            Outcome(part=p.name, status="skipped", why=_INTERRUPTED, seconds=0.0) for p in rest
        ]
        tell(outcomes)
        if outcomes[number].why == _INTERRUPTED:
            raise KeyboardInterrupt
    return outcomes


_INTERRUPTED = "interrupted"


def _run(part: Part, left_s: float) -> Outcome:
    start_s, trace = monotonic(), ""
    deadline = Deadline(start_s + left_s)
    status: Status = "failed"
    try:
        with _alarm(left_s * (1.0 + _GRACE)):
            why = part.run(deadline)
        status = "done"
    except KeyboardInterrupt:
        why = _INTERRUPTED
    except Exception as error:
        late = isinstance(error, TimeUp) or deadline.left_s < 0.0
        status = "cut" if late else "failed"
        why = "its time was up; what it had found counts" if late else _one_line(error)
        trace = "" if isinstance(error, TimeUp) else traceback.format_exc()
    if status != "done":
        gc.collect()  # what was left open holds memory that the next part needs
    return Outcome(
        part=part.name, status=status, why=why, seconds=monotonic() - start_s, trace=trace
    )


def _one_line(error: Exception) -> str:
    """The error and its first cause, which is where the runtime's streams keep what happened."""
    causes = [error]
    while causes[-1].__cause__ is not None and isinstance(causes[-1].__cause__, Exception):
        causes.append(causes[-1].__cause__)
    said = (f"{type(e).__name__}: {' '.join(str(e).split())}" for e in (error, causes[-1]))
    return "; ".join(dict.fromkeys(said))


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises `TimeUp` in the block after so long, where the system has alarms.

    It rings again: where an object is being finalised, Python swallows what is raised.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _RINGS_EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
