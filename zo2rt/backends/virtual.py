"""`virtual`: one thread, virtual time, and any legal interleaving: the seed chooses which.

Devices differ in nothing but their streams, so an edge between two of them is one like any other.

Nothing runs before somebody synchronises. Then one operation at a time is drawn from the streams
whose next operation has nothing left to wait for. An edge that is missing from a schedule shows
as different bits for some seed, and for that seed every time.

Streams have random priorities, which change now and then: a fair draw per operation would almost
never hold one stream back for long, and that is what it takes to show some races (the idea of
Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS
2010). Every legal order keeps a chance.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch

from zo2rt.backends.ambient import Ambient
from zo2rt.backends.base import Event, Work, check_copy
from zo2rt.backends.on_host import OnHost
from zo2rt.backends.timing_log import Entry
from zo2rt.backends.tracks import Where, track_of
from zo2sim.schedule.ops import Track

CHANGE_PROBABILITY = 1 / 8
"""Of new priorities before an operation."""

Duration = Callable[[Track, str], float]


def _one_second(track: Track, label: str) -> float:
    return 1.0


@dataclass(slots=True)
class _Ticket:
    """One recording; ``end_s`` is None until everything before it has run."""

    end_s: float | None = None


@dataclass(slots=True)
class _Wait:
    ticket: _Ticket


@dataclass(slots=True)
class _Launched:
    work: Work
    ambient: Ambient
    entry: Entry
    earliest_s: float


class _Queue:
    """What a stream has been given and has not run, and the time that it has reached."""

    def __init__(self) -> None:
        self.items: deque[_Ticket | _Wait | _Launched] = deque()
        self.time_s = 0.0

    def settle(self) -> bool:
        """Pass recordings, and waits for what has ended, at the head; whether there were any."""
        passed = False
        while self.items and (until_s := self._passable_s(self.items[0])) is not None:
            self.time_s = max(self.time_s, until_s)
            head = self.items.popleft()
            if isinstance(head, _Ticket):
                head.end_s = self.time_s
            passed = True
        return passed

    def _passable_s(self, head: "_Ticket | _Wait | _Launched") -> float | None:
        match head:
            case _Ticket():
                return self.time_s
            case _Wait(ticket):
                return ticket.end_s
            case _Launched():
                return None


class VirtualBackend(OnHost):
    """Times are virtual: an operation starts when all that it waits for has ended.

    ``duration_s`` maps track and label to seconds; by default everything takes one. Times do not
    depend on the seed. What the caller launches after synchronising starts no earlier than that.
    """

    def __init__(
        self, seed: int = 0, *, devices: int = 1, duration_s: Duration = _one_second
    ) -> None:
        super().__init__(devices)
        self._random = Random(seed)
        self._duration_s = duration_s
        self._queues: dict[Track, _Queue] = {}
        self._ranks: dict[Track, float] = {}
        self._caller_s = 0.0

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        self._failure.check()
        entry = self._log.open(track_of(track), label)
        item = _Launched(work, Ambient.current(), entry, self._caller_s)
        self._queue(entry.track).items.append(item)

    def transfer(self, track: Where, target: torch.Tensor, source: torch.Tensor) -> None:
        check_copy(target, source)
        target.copy_(source)

    def record(self, track: Where, event: Event | None = None) -> Event:
        self._failure.check()
        track, ticket = track_of(track), _Ticket()
        self._queue(track).items.append(ticket)
        return Event.marked(event, track, ticket)

    def wait(self, track: Where, event: Event) -> None:
        self._failure.check()
        self._queue(track_of(track)).items.append(_Wait(event.ticket))

    def query(self, event: Event) -> bool:
        """Lets one operation run when the answer would be no."""
        self._failure.check()
        if event.ticket.end_s is None:
            self._advance()
        return event.ticket.end_s is not None

    def synchronize(self, event: Event | None = None) -> None:
        self._failure.check()
        ends = [self.record(track).ticket for track in self._queues]
        for ticket in ends if event is None else [event.ticket]:
            while ticket.end_s is None:
                self._advance()
            self._caller_s = max(self._caller_s, ticket.end_s)

    def close(self) -> None:
        self._failure.close()
        self._queues.clear()

    def _queue(self, track: Track) -> _Queue:
        return self._queues.setdefault(track, _Queue())

    def _advance(self) -> None:
        """Run one operation that may run now, and pass what can be passed before and after."""
        self._settle()
        ready = [
            t for t, q in self._queues.items() if q.items and isinstance(q.items[0], _Launched)
        ]
        if ready:
            self._run(self._queues[self._choose(ready)])
            self._settle()
        elif any(queue.items for queue in self._queues.values()):
            raise RuntimeError("every stream waits for another one; was an event recorded later?")

    def _choose(self, ready: list[Track]) -> Track:
        if self._random.random() < CHANGE_PROBABILITY:
            self._ranks.clear()
        return max(ready, key=self._rank)

    def _rank(self, track: Track) -> float:
        if track not in self._ranks:
            self._ranks[track] = self._random.random()
        return self._ranks[track]

    def _settle(self) -> None:
        while any(queue.settle() for queue in self._queues.values()):
            pass

    def _run(self, queue: _Queue) -> None:
        item = queue.items.popleft()
        assert isinstance(item, _Launched)
        entry = item.entry
        self._failure.guard(entry.track, entry.label, lambda: self._work(item))
        self._failure.check()
        entry.start_s = max(queue.time_s, item.earliest_s)
        entry.end_s = queue.time_s = entry.start_s + self._duration_s(entry.track, entry.label)

    def _work(self, item: _Launched) -> None:
        with item.ambient.entered():
            item.work()
