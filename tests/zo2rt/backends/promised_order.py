"""Which order the logged calls of a run promise, whatever device and threads do in their freedom.

Work on a stream follows earlier work on it and whatever the stream was made to wait for. A thread
follows what it did before, the events with which it synchronised, and, where it passed a gate,
the thread that opened it, and a thread that it saw idle; what it issues to a stream, so does that.
Only the log counts: a wait that is missing or a recording that comes too early leaves an edge
unpromised, however lucky a run may have been.
"""

from collections import defaultdict
from collections.abc import Hashable

from tests.zo2rt.backends.fake_accelerator import Call

Before = set[Hashable]


class PromisedOrder:
    """For every piece of marked work what must have ended before it starts."""

    def __init__(self, log: list[Call]) -> None:
        self.before: dict[Hashable, Before] = {}
        self.copies: list[Before] = []
        """The same of every copy that a device's stream was given."""
        self._streams: defaultdict[int, Before] = defaultdict(set)
        self._threads: defaultdict[int, Before] = defaultdict(set)
        self._marks: dict[int, Before] = {}
        """What an event or a gate stands for."""
        for call in log:
            self._read(call)

    def _read(self, call: Call) -> None:
        here = self._threads[call.thread]
        match call.name, call.stream, call.event:
            case "record", int(stream), int(event):
                self._marks[event] = self._streams[stream] | here
            case "wait_event", int(stream), int(event):
                self._streams[stream] |= self._marks[event]
            case "open", None, int(gate):
                self._marks[gate] = {*here}
            case (("event.synchronize" | "pass"), None, int(mark)):
                here |= self._marks[mark]
            case "idle", None, None:
                here |= self._threads[call.detail]
            case "start", None, None:
                self.before[call.detail] = {*here}
            case "work", None, None:
                self.before.setdefault(call.detail, {*here})
                here.add(call.detail)
            case "work", int(stream), None:
                before = self._streams[stream] | here
                self.before[call.detail] = before
                self._streams[stream] = {*before, call.detail}
            case "copy_", int(stream), None:
                before = self._streams[stream] | here
                self._streams[stream] = {*before, ("copy", len(self.copies))}
                self.copies.append(before)
            case _:
                pass
