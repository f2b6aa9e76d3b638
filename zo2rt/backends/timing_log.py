"""Times of what was launched, kept in launch order although it ends in any order."""

from dataclasses import dataclass
from time import perf_counter

from zo2rt.backends.base import Timing
from zo2sim.schedule import Stream


@dataclass(slots=True)
class Entry:
    """One launch; ``end_s`` is None until it has ended."""

    label: str
    stream: Stream
    start_s: float = 0.0
    end_s: float | None = None


class TimingLog:
    """Entries in launch order, on a clock that starts with the log."""

    def __init__(self) -> None:
        self._origin_s = perf_counter()
        self._entries: list[Entry] = []

    def now_s(self) -> float:
        """Host time on the log's clock."""
        return perf_counter() - self._origin_s

    def open(self, stream: Stream, label: str) -> Entry:
        """A place in the order, to be filled later."""
        self._entries.append(entry := Entry(label, stream))
        return entry

    def drain(self) -> tuple[Timing, ...]:
        """Every entry that has ended; the log is then empty."""
        entries, self._entries = self._entries, []
        return tuple(
            Timing(e.label, e.stream, e.start_s, e.end_s) for e in entries if e.end_s is not None
        )
