"""Which order the logged calls of a run promise, whatever the device does in its freedom.

Work on a stream follows earlier work on it and whatever the stream was made to wait for; a thread
that synchronised with an event, or ended work of the host itself, issues what comes next later.
Only the log counts: a recording that is missing or comes too early leaves an edge unpromised.
"""

from collections import defaultdict
from collections.abc import Hashable

from tests.fake_accelerator import Call

Before = set[Hashable]


class PromisedOrder:
    """For every piece of marked work what must have ended before it starts."""

    def __init__(self, log: list[Call]) -> None:
        self.before: dict[Hashable, Before] = {}
        self._streams: defaultdict[int, Before] = defaultdict(set)
        self._threads: defaultdict[int, Before] = defaultdict(set)
        self._events: dict[int, Before] = {}
        self._host: Before = set()
        for call in log:
            self._read(call)

    def _read(self, call: Call) -> None:
        match call.name, call.stream, call.event:
            case "record", int(stream), int(event):
                self._events[event] = {*self._streams[stream], *self._threads[call.thread]}
            case "wait_event", int(stream), int(event):
                self._streams[stream] |= self._events[event]
            case "event.synchronize", None, int(event):
                self._threads[call.thread] |= self._events[event]
            case "work", None, None:
                self._host_work(call)
            case "work", int(stream), None:
                before = self._streams[stream] | self._threads[call.thread] | self._host
                self.before[call.detail] = before
                self._streams[stream] = {*before, call.detail}
            case _:
                pass

    def _host_work(self, call: Call) -> None:
        """Host work has ended when the next call is logged: it is real, not fake."""
        before = self._threads[call.thread] | self._host
        self.before[call.detail] = before
        self._threads[call.thread] = {*before, call.detail}
        self._host = self._host | {*before, call.detail}
