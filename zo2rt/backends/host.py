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
from zo2rt.backends.tracks import Where, track_of
from zo2sim.schedule.ops import Stream, Track


@dataclass(slots=True, kw_only=True)
class HostStream:
    """One stream: its thread, and times of its work by `perf_counter`."""

    track: Track
    thread: StreamThread
    awaited: list[Gate] = field(default_factory=list[Gate])
    """What its next launch comes after."""
    asked_s: float | None = None
    """When what runs was asked for; None once it has copied."""
    ended_s: float = 0.0

    def start(self, launched_s: float, awaited: Sequence[Gate]) -> float:
        """When the work that now runs has started. See [Note: asked]."""
        opened_s = (gate.opened_s for gate in awaited)
        is_compute = self.track.stream is Stream.COMPUTE
        now_s = perf_counter() if is_compute else max(launched_s, self.ended_s, *opened_s)
        self.asked_s = now_s
        return now_s


class HostBackend(OnHost):
    """One thread per stream; times are wall-clock. With ``limit`` the memcpy is a slow link.

    Each of ``devices`` has streams and a link of its own; they share the host's cores.
    ``own_core`` gives copies a core of their own; it helps where nothing else runs.
    The process keeps what lanes free, see [Note: freed memory].
    """

    def __init__(
        self, limit: LinkLimit | None = None, *, devices: int = 1, own_core: bool = False
    ) -> None:
        super().__init__(devices)
        keep_freed_memory()
        self._own_core = own_core
        self._links = tuple(Throttle(limit) for _ in range(devices))
        self._streams: dict[Track, HostStream] = {}

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        self._failure.check()
        track = track_of(track)
        ambient, entry, log = Ambient.current(), self._log.open(track, label), self._log
        own, launched_s = self._stream(track), perf_counter()
        awaited, own.awaited = own.awaited, []

        def timed() -> None:
            with ambient.entered():
                entry.start_s = log.at_s(own.start(launched_s, awaited))
                work()
                own.ended_s = perf_counter()
                entry.end_s = log.at_s(own.ended_s)

        own.thread.put(lambda: self._failure.guard(track, label, timed))

    def transfer(self, track: Where, target: torch.Tensor, source: torch.Tensor) -> None:
        check_copy(target, source)
        track = track_of(track)
        own = self._stream(track)
        asked_s, own.asked_s = own.asked_s, None
        self._links[track.device].copy(track.stream, target, source, asked_s)

    def record(self, track: Where, event: Event | None = None) -> Event:
        self._failure.check()
        track, gate = track_of(track), Gate()
        self._stream(track).thread.put(gate.open)
        return Event.marked(event, track, gate)

    def wait(self, track: Where, event: Event) -> None:
        self._failure.check()
        track, gate = track_of(track), event.ticket
        own = self._stream(track)
        own.awaited.append(gate)
        if not gate.is_open and event.track != track:
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
        return [self.record(track).ticket.wait for track in self._streams]

    def close(self) -> None:
        if self._failure.close():
            for own in self._streams.values():
                own.thread.close()

    def _stream(self, track: Track) -> HostStream:
        if track not in self._streams:
            bind = partial(keep_apart, track.stream) if self._own_core else lambda: None
            thread = StreamThread(track, bind)
            self._streams[track] = HostStream(track=track, thread=thread)
        return self._streams[track]
