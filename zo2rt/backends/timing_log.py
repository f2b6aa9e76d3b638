"""Times of what was launched, kept in launch order although it ends in any order."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from zo2rt.backends.base import Timing
from zo2sim.schedule.ops import Track


@dataclass(slots=True)
class Entry:
    """One launch; ``end_s`` is None until it has ended."""

    label: str
    track: Track
    start_s: float = 0.0
    end_s: float | None = None


class TimingLog:
    """Entries in launch order, on a clock that starts with the log."""

    def __init__(self) -> None:
        self._origin_s = perf_counter()
        self._entries: deque[Entry] = deque()

    def now_s(self) -> float:
        """Host time on the log's clock."""
        return self.at_s(perf_counter())

    def at_s(self, clock_s: float) -> float:
        """A time of `perf_counter` on the log's clock."""
        return clock_s - self._origin_s

    def open(self, track: Track, label: str) -> Entry:
        """A place in the order, to be filled later."""
        self._entries.append(entry := Entry(label, track))
        return entry

    def ended(self) -> tuple[Timing, ...]:
        """The longest prefix of entries that have ended; the log forgets them."""
        return tuple(self._take_ended())

    def _take_ended(self) -> Iterator[Timing]:
        while self._entries and (end_s := self._entries[0].end_s) is not None:
            entry = self._entries.popleft()
            yield Timing(entry.label, entry.track, entry.start_s, end_s)
