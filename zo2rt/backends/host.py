"""`host`: a real offloading machine in miniature. Threads are streams, a memcpy is the link.

[Note: asked] A copy engine needs no waking: a copy begins when it is asked for, which is when all
that it waits for has ended. So does, in the times that are reported, everything beside the compute
stream; the wake-up of its thread is part of it. Where a limit paces the link, none of it is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import torch

from zo2rt.backends.ambient import Ambient
from zo2rt.backends.base import Event, Work, check_copy
from zo2rt.backends.on_host import OnHost
from zo2rt.backends.process import keep_apart, keep_freed_memory
from zo2rt.backends.threads import Gate, StreamThread
from zo2rt.backends.throttle import LinkLimit, Throttle
from zo2sim.schedule.ops import Stream


@dataclass(slots=True, kw_only=True)
class HostStream:
    """One stream: its thread, and times of its work by `perf_counter`."""

    stream: Stream
    thread: StreamThread
    awaited: list[Gate] = field(default_factory=list[Gate])
    """What its next launch comes after."""
    asked_s: float | None = None
    """When what runs was asked for; None once it has copied."""
    ended_s: float = 0.0

    def start(self, launched_s: float, awaited: Sequence[Gate]) -> float:
        """When the work that now runs has started. See [Note: asked]."""
        opened_s = (gate.opened_s for gate in awaited)
        is_compute = self.stream is Stream.COMPUTE
        now_s = perf_counter() if is_compute else max(launched_s, self.ended_s, *opened_s)
        self.asked_s = now_s
        return now_s


class HostBackend(OnHost):
    """One thread per stream; times are wall-clock. With ``limit`` the memcpy is a slow link.

    ``own_core`` gives copies a core of their own; it helps where nothing else runs.
    The process keeps what lanes free, see [Note: freed memory].
    """

    def __init__(self, limit: LinkLimit | None = None, *, own_core: bool = False) -> None:
        super().__init__()
        keep_freed_memory()
        self._own_core = own_core
        self._throttle = Throttle(limit)
        self._streams: dict[Stream, HostStream] = {}

    def launch(self, stream: Stream, work: Work, *, label: str) -> None:
        self._failure.check()
        ambient, entry, log = Ambient.current(), self._log.open(stream, label), self._log
        own, launched_s = self._stream(stream), perf_counter()
        awaited, own.awaited = own.awaited, []

        def timed() -> None:
            with ambient.entered():
                entry.start_s = log.at_s(own.start(launched_s, awaited))
                work()
                own.ended_s = perf_counter()
                entry.end_s = log.at_s(own.ended_s)

        own.thread.put(lambda: self._failure.guard(stream, label, timed))

    def transfer(self, stream: Stream, target: torch.Tensor, source: torch.Tensor) -> None:
        check_copy(target, source)
        own = self._stream(stream)
        asked_s, own.asked_s = own.asked_s, None
        self._throttle.copy(stream, target, source, asked_s)

    def record(self, stream: Stream, event: Event | None = None) -> Event:
        self._failure.check()
        gate = Gate()
        self._stream(stream).thread.put(gate.open)
        return Event.marked(event, stream, gate)

    def wait(self, stream: Stream, event: Event) -> None:
        self._failure.check()
        gate: Gate = event.ticket
        own = self._stream(stream)
        own.awaited.append(gate)
        if not gate.is_open and event.stream is not stream:
            own.thread.put(gate.wait)

    def query(self, event: Event) -> bool:
        self._failure.check()
        return event.ticket.is_open

    def synchronize(self, event: Event | None = None) -> None:
        gates = self._ends() if event is None else [event.ticket.wait]
        for wait in gates:
            wait()
        self._failure.check()

    def _ends(self) -> list[Callable[[], None]]:
        return [self.record(stream).ticket.wait for stream in self._streams]

    def close(self) -> None:
        if self._failure.close():
            for own in self._streams.values():
                own.thread.close()

    def _stream(self, stream: Stream) -> HostStream:
        if stream not in self._streams:
            bind = partial(keep_apart, stream) if self._own_core else lambda: None
            thread = StreamThread(stream, bind)
            self._streams[stream] = HostStream(stream=stream, thread=thread)
        return self._streams[stream]
