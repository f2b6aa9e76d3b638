"""The race detector: vector clocks over what operations touch, as they run.

Operations on one track are ordered, those of two tracks, be they of one device or of two, are not;
a wait orders everything before the recording before everything after the wait; once the caller has
synchronised, what it launches next comes later. Two accesses to one place, one of which writes,
must be ordered by that. It is the relation that `zo2sim.schedule.verify` decides from declared
accesses; this one sees what was touched in fact.
Happens before: Lamport (CACM 21(7), 1978); one clock per track: Mattern (1988).
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

from zo2rt.backends.tracks import Where, track_of
from zo2sim.schedule.ops import Track

Location = Hashable
"""What two operations can both touch: a slot, scratch, a host block, a buffer."""

Clock = dict[Track, int]
"""Per track how many of its operations have surely ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """A launched operation: the ``position``-th of its track, ``clock`` when it started."""

    track: Track
    position: int
    label: str
    clock: Clock

    def follows(self, other: "Access") -> bool:
        """Whether ``other`` has surely ended before this starts; anything follows itself."""
        return other is self or self.clock.get(other.track, 0) > other.position

    def __str__(self) -> str:
        return f"{self.label} ({self.track}, its operation {self.position})"


@dataclass(frozen=True, slots=True)
class Race:
    """``second`` touched ``place`` without being ordered after ``first``; one of them wrote."""

    kind: str
    place: Location
    first: Access
    second: Access

    def __str__(self) -> str:
        return (
            f"{self.kind} race on {self.place}: {self.second} is not ordered after {self.first}; "
            f"make {self.second.label} wait for {self.first.label}"
        )


class RaceFound(RuntimeError):
    """Operations race; the message names each pair."""


@dataclass(slots=True)
class _History:
    """Who wrote a place last, and who read it since, the last of each track."""

    writer: Access | None = None
    readers: dict[Track, Access] = field(default_factory=lambda: {})


class RaceDetector:
    """Fed by a backend (`zo2rt.races.backend`). `on_...` are called by the caller of the
    backend, in the order of its calls; `touches` by any thread, while the operation runs.

    Every place on which operations race yields at least one pair; a pair on a place once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._clocks: defaultdict[Track, Clock] = defaultdict(dict)
        self._events: WeakKeyDictionary[object, Clock] = WeakKeyDictionary()
        self._caller: Clock = {}
        self._histories: defaultdict[Location, _History] = defaultdict(_History)
        self._races: dict[tuple[Location, Access, Access], Race] = {}

    @property
    def races(self) -> tuple[Race, ...]:
        """What was found so far, in the order in which it was found."""
        with self._lock:
            return tuple(self._races.values())

    def check(self) -> None:
        """Raise `RaceFound`, naming both operations of every pair, if there is one."""
        if races := self.races:
            raise RaceFound("\n".join(map(str, races)))

    def on_launch(self, where: Where, label: str) -> Access:
        """The operation, to be named when it touches something."""
        track = track_of(where)
        clock = self._clocks[track]
        _join(clock, self._caller)
        access = Access(track, clock.get(track, 0), label, dict(clock))
        clock[track] = access.position + 1
        return access

    def on_record(self, where: Where, event: object) -> None:
        """``event`` stands for all that the track was given so far."""
        clock = self._clocks[track_of(where)]
        _join(clock, self._caller)
        self._events[event] = dict(clock)

    def on_wait(self, where: Where, event: object) -> None:
        """The track goes on after what ``event`` stands for now."""
        _join(self._clocks[track_of(where)], self._events[event])

    def on_synchronize(self, event: object | None) -> None:
        """The caller has waited for ``event``; None: for everything."""
        for clock in self._clocks.values() if event is None else [self._events[event]]:
            _join(self._caller, clock)

    def touches(
        self, access: Access, *, reads: tuple[Location, ...] = (), writes: tuple[Location, ...] = ()
    ) -> None:
        """``access`` reads and writes these places; may be called often for one operation."""
        with self._lock:
            for place in reads:
                self._read(place, access)
            for place in writes:
                self._write(place, access)

    def _read(self, place: Location, access: Access) -> None:
        history = self._histories[place]
        if history.writer is not None:
            self._compare("read-after-write", place, history.writer, access)
        history.readers[access.track] = access

    def _write(self, place: Location, access: Access) -> None:
        history = self._histories[place]
        for kind, first in _before_write(history):
            self._compare(kind, place, first, access)
        history.writer = access
        history.readers = {}

    def _compare(self, kind: str, place: Location, first: Access, second: Access) -> None:
        if not second.follows(first):
            self._races.setdefault((place, first, second), Race(kind, place, first, second))


def _before_write(history: _History) -> Iterator[tuple[str, Access]]:
    if history.writer is not None:
        yield "write-after-write", history.writer
    for reader in history.readers.values():
        yield "write-after-read", reader


def _join(clock: Clock, other: Clock) -> None:
    for track, count in other.items():
        if clock.get(track, 0) < count:
            clock[track] = count
