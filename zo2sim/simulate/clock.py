"""Time that jumps from one event to the next, and processes that wait for events.

What is due at one instant happens in the order in which it was asked for, as in SimPy; what a
process does first comes before all of it, what settles the instant after.
"""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count

_Call = Callable[[], None]


class Event:
    """Something that happens once, when it is called; ``then`` is what it sets off."""

    __slots__ = ("over", "then")

    def __init__(self) -> None:
        self.over = False
        self.then: list[_Call] = []

    def __call__(self) -> None:
        self.over = True
        for call in self.then:
            call()


class Clock:
    """Seconds since the start, and what is due."""

    def __init__(self) -> None:
        self.now: float = 0
        self._begun = deque[_Call]()
        self._due = deque[_Call]()
        self._later: list[tuple[float, int, _Call]] = []
        self._settle: _Call | None = None
        self._numbers = count()
        self.soon = self._due.append
        """Lets something happen at this instant."""

    def after(self, seconds: float, call: _Call) -> None:
        """Let something happen so many seconds from now."""
        time = self.now + seconds
        if time == self.now:
            self.soon(call)
        else:
            heappush(self._later, (time, next(self._numbers), call))

    def last(self, call: _Call) -> None:
        """Let something happen after all else that is due at this instant; it is one thing."""
        self._settle = call

    def timeout(self, seconds: float) -> Event:
        """An event that happens so many seconds from now."""
        event = Event()
        self.after(seconds, event)
        return event

    def process(self, events: Iterator[Event]) -> None:
        """Go on from event to event, none of which has happened yet."""

        def go() -> None:
            for event in events:
                event.then.append(go)
                return

        self._begun.append(go)

    def run(self) -> None:
        """Until nothing is due any more."""
        begun, due, later = self._begun, self._due, self._later
        while True:
            while begun or due:
                call = begun.popleft() if begun else due.popleft()
                call()
            if self._settle is not None:
                settle, self._settle = self._settle, None
                settle()
            elif later:
                self.now = later[0][0]
                while later and later[0][0] == self.now:
                    due.append(heappop(later)[-1])
            else:
                return


class Turn:
    """What one process has at a time: first come, first served."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken = False
        self._waiting = deque[Event]()

    def request(self) -> Event:
        """An event that happens when it is one's turn."""
        own = Event()
        self._waiting.append(own)
        self._grant()
        return own

    def release(self) -> None:
        """Let the next one have it."""
        self._taken = False
        self._clock.soon(self._grant)

    def _grant(self) -> None:
        if self._waiting and not self._taken:
            self._taken = True
            self._clock.soon(self._waiting.popleft())
