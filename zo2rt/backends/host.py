"""`host`: a real offloading machine in miniature. Threads are streams, a memcpy is the link.

[Note: asked] A copy engine needs no waking: a copy begins when it is asked for, which is when all
that it waits for has ended. So does, in the times that are reported, everything beside the compute
stream; the wake-up of its thread is part of it. Where a limit paces the link, none of it is left.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

import torch

from zo2rt.backends.ambient import Ambient
from zo2rt.backends.base import Backend, Event, MemoryFigures, Timing, Work, check_copy
from zo2rt.backends.buffers import HostMemory
from zo2rt.backends.process import keep_apart, keep_freed_memory
from zo2rt.backends.threads import Failure, Gate, StreamThread
from zo2rt.backends.throttle import LinkLimit, Throttle
from zo2rt.backends.timing_log import TimingLog
from zo2sim.schedule.ops import Stream


class HostBackend(Backend):
    """One thread per stream; times are wall-clock. With ``limit`` the memcpy is a slow link.

    ``own_core`` gives copies a core of their own (`cores`); it helps where nothing else runs.
    The process keeps what lanes free (`freed_memory`).
    """

    def __init__(self, limit: LinkLimit | None = None, *, own_core: bool = False) -> None:
        keep_freed_memory()
        self._own_core = own_core
        self._throttle = Throttle(limit)
        self._memory = HostMemory()
        self._log = TimingLog()
        self._failure = Failure()
        self._threads: dict[Stream, StreamThread] = {}
        self._awaited: defaultdict[Stream, list[Gate]] = defaultdict(list)
        self._asked_s: dict[Stream, float] = {}
        self._ended_s: dict[Stream, float] = {}

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def device_buffer(self, nbytes: int) -> torch.Tensor:
        return self._memory.device(nbytes)

    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> torch.Tensor:
        return self._memory.host(nbytes, pinned=pinned)

    def launch(self, stream: Stream, work: Work, *, label: str) -> None:
        self._failure.check()
        ambient, entry, log = Ambient.current(), self._log.open(stream, label), self._log
        launched_s, awaited = perf_counter(), self._awaited.pop(stream, ())

        def timed() -> None:
            with ambient.entered():
                started_s = self._started_s(stream, launched_s, awaited)
                entry.start_s = log.at_s(started_s)
                self._asked_s[stream] = started_s
                work()
                ended_s = self._ended_s[stream] = perf_counter()
                entry.end_s = log.at_s(ended_s)

        self._thread(stream).put(lambda: self._failure.guard(stream, label, timed))

    def _started_s(self, stream: Stream, launched_s: float, awaited: Sequence[Gate]) -> float:
        """See [Note: asked]; by `perf_counter`."""
        if stream is Stream.COMPUTE:
            return perf_counter()
        ended_s = self._ended_s.get(stream, 0.0)
        return max(launched_s, ended_s, *(gate.opened_s for gate in awaited))

    def transfer(self, stream: Stream, target: torch.Tensor, source: torch.Tensor) -> None:
        check_copy(target, source)
        self._throttle.copy(stream, target, source, self._asked_s.pop(stream, None))

    def record(self, stream: Stream, event: Event | None = None) -> Event:
        self._failure.check()
        gate = Gate()
        self._thread(stream).put(gate.open)
        return Event.marked(event, stream, gate)

    def wait(self, stream: Stream, event: Event) -> None:
        self._failure.check()
        gate: Gate = event.ticket
        self._awaited[stream].append(gate)
        if not gate.is_open and event.stream is not stream:
            self._thread(stream).put(gate.wait)

    def query(self, event: Event) -> bool:
        self._failure.check()
        return event.ticket.is_open

    def synchronize(self, event: Event | None = None) -> None:
        gates = self._ends() if event is None else [event.ticket.wait]
        for wait in gates:
            wait()
        self._failure.check()

    def _ends(self) -> list[Callable[[], None]]:
        return [self.record(stream).ticket.wait for stream in self._threads]

    def ended(self) -> tuple[Timing, ...]:
        self._failure.check()
        return self._log.ended()

    def timings(self) -> tuple[Timing, ...]:
        self.synchronize()
        return self._log.ended()

    def memory(self) -> MemoryFigures:
        return self._memory.figures()

    def close(self) -> None:
        if self._failure.close():
            for thread in self._threads.values():
                thread.close()

    def _thread(self, stream: Stream) -> StreamThread:
        if stream not in self._threads:
            bind = partial(keep_apart, stream) if self._own_core else lambda: None
            self._threads[stream] = StreamThread(stream, bind)
        return self._threads[stream]
