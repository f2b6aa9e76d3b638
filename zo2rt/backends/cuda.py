"""`cuda`: streams and events of an accelerator, through PyTorch's device-generic interface.

# [Note: who issues]
h2d, compute and d2h are streams of the device; the caller itself issues what they are given, at
once, so work that launches kernels costs no hand-over. The host's streams (host, nvme) are
threads. A device cannot wait for a thread, so when a device stream is told to wait for work of
the host that has not ended, its issuing moves to a thread of its own, which blocks there in the
caller's place, and returns to the caller once that thread has nothing left to issue.

Buffers live until `close`, so nothing needs `record_stream`: order comes from events alone.
"""

from collections import deque
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch

from zo2rt.backends.ambient import Ambient
from zo2rt.backends.base import Backend, Event, MemoryFigures, Timing, Work, check_copy
from zo2rt.backends.buffers import PAGE_BYTES, HandedOut, aligned_buffer, check_size, pin, unpin
from zo2rt.backends.threads import Action, Failure, Gate, StreamThread
from zo2rt.backends.timing_log import Entry, TimingLog
from zo2sim.models.shapes import TENSOR_GRAIN_BYTES
from zo2sim.schedule.ops import Stream

DEVICE_STREAMS = (Stream.H2D, Stream.COMPUTE, Stream.D2H)
"""Streams of the device; all others are threads of the host."""

_MOMENT_LASTS_S = 16.0  # from there fp32 milliseconds resolve 1 us


class _Ticket:
    """One recording. ``issued`` opens when the host has come to it; that is the end of host work,
    while for a device stream ``event`` then marks the end."""

    def __init__(self, event: torch.Event | None) -> None:
        self.issued = Gate()
        self.event = event

    def has_ended(self) -> bool:
        return self.issued.is_open and (self.event is None or self.event.query())

    def block(self) -> None:
        """Block the calling thread until what was recorded has ended."""
        self.issued.wait()
        if self.event is not None:
            self.event.synchronize()

    def hold(self, stream: torch.Stream) -> None:
        """Make ``stream`` wait for a device's recording, the calling thread for the host's."""
        self.issued.wait()
        if self.event is not None:
            stream.wait_event(self.event)


class _Span(NamedTuple):
    """Work of the device: its place in the log, and the events around it."""

    entry: Entry
    start: torch.Event
    end: torch.Event


class _DeviceClock:
    """Events of the device in seconds on the host's clock, through a moment known on both.

    PyTorch reports fp32 milliseconds, which after 1000 s from the moment resolve 60 us only. So it
    moves along: from event to event without waiting, and, where the caller waits anyway, to a new
    one on both clocks, which ends what they have drifted apart.
    """

    def __init__(self, log: TimingLog, stream: torch.Stream) -> None:
        self._log = log
        self._stream = stream
        self.renew()

    def renew(self) -> None:
        """Blocks until the device is idle."""
        torch.accelerator.synchronize()
        tries = [self._moment_on_both() for _ in range(3)]
        self._moment, self._moment_s, _ = min(tries, key=lambda found: found[2])

    def _moment_on_both(self) -> tuple[torch.Event, float, float]:
        """An event, the middle of the host's time around it, and how long that was."""
        event = torch.Event(enable_timing=True)
        before_s = self._log.now_s()
        event.record(self._stream)
        event.synchronize()
        after_s = self._log.now_s()
        return event, (before_s + after_s) / 2, after_s - before_s

    def fill(self, span: _Span) -> None:
        """Enter the times of work that has ended into the log."""
        start_s, end_s = self._seconds(span.start), self._seconds(span.end)
        span.entry.start_s, span.entry.end_s = start_s, end_s
        if end_s - self._moment_s > _MOMENT_LASTS_S:
            self._moment, self._moment_s = span.end, end_s

    def _seconds(self, event: torch.Event) -> float:
        return self._moment_s + self._moment.elapsed_time(event) * 1e-3


class CudaBackend(Backend):
    """The current accelerator. ``pageable_copies`` allows what would otherwise be refused: a copy
    from or to host memory that is not page-locked, which PyTorch silently runs one at a time."""

    def __init__(self, *, pageable_copies: bool = False) -> None:
        device = torch.accelerator.current_accelerator()
        if device is None or not torch.accelerator.is_available():
            raise RuntimeError("there is no accelerator; use --backend host or virtual")
        self._device = torch.device(device.type, torch.accelerator.current_device_index())
        self._pageable_copies = pageable_copies
        self._ledger = HandedOut()
        self._locked: list[torch.Tensor] = []
        self._log = TimingLog()
        self._failure = Failure()
        self._streams = {s: torch.Stream(device=self._device) for s in DEVICE_STREAMS}
        self._threads: dict[Stream, StreamThread] = {}
        self._clock = _DeviceClock(self._log, self._streams[Stream.COMPUTE])
        self._spans = {s: deque[_Span]() for s in DEVICE_STREAMS}

    @property
    def device(self) -> torch.device:
        return self._device

    def device_buffer(self, nbytes: int) -> torch.Tensor:
        check_size(nbytes)
        buffer = torch.empty(nbytes, dtype=torch.uint8, device=self._device)
        # The allocator may hand out memory that the current stream has yet to finish with.
        torch.accelerator.synchronize()
        assert buffer.data_ptr() % TENSOR_GRAIN_BYTES == 0
        self._ledger.device_bytes += nbytes
        return buffer

    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> torch.Tensor:
        buffer = self._page_locked(nbytes) if pinned else aligned_buffer(nbytes)
        self._ledger.add_host(nbytes, pinned=pinned)
        return buffer

    def _page_locked(self, nbytes: int) -> torch.Tensor:
        if self._device.type != "cuda":
            check_size(nbytes)
            return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
        buffer = aligned_buffer(nbytes, PAGE_BYTES)
        pin(buffer)
        self._locked.append(buffer)
        assert buffer.is_pinned()
        return buffer

    def launch(self, stream: Stream, work: Work, *, label: str) -> None:
        self._failure.check()
        ambient = Ambient.current(("cpu", self._device.type))
        entry = self._log.open(stream, label)
        run = self._on_device if stream in DEVICE_STREAMS else self._on_host

        def entered() -> None:
            with ambient.entered():
                run(entry, work)

        self._issue(stream, lambda: self._failure.guard(stream, label, entered))

    def _on_host(self, entry: Entry, work: Work) -> None:
        entry.start_s = self._log.now_s()
        work()
        entry.end_s = self._log.now_s()

    def _on_device(self, entry: Entry, work: Work) -> None:
        start, end = torch.Event(enable_timing=True), torch.Event(enable_timing=True)
        stream = self._streams[entry.stream]
        with stream:
            start.record(stream)
            work()
            end.record(stream)
        self._spans[entry.stream].append(_Span(entry, start, end))

    def transfer(self, stream: Stream, target: torch.Tensor, source: torch.Tensor) -> None:
        check_copy(target, source)
        if stream in DEVICE_STREAMS:
            self._check_locked(target)
            self._check_locked(source)
        target.copy_(source, non_blocking=stream in DEVICE_STREAMS)

    def _check_locked(self, tensor: torch.Tensor) -> None:
        if tensor.device.type == "cpu" and not (self._pageable_copies or tensor.is_pinned()):
            raise ValueError(
                "host memory must be page-locked to be copied without waiting; got a "
                "pageable buffer; allocate it with host_buffer(..., pinned=True), or open the "
                "backend with pageable_copies=True"
            )

    def record(self, stream: Stream, event: Event | None = None) -> Event:
        self._failure.check()
        on_device = stream in DEVICE_STREAMS
        ticket = _Ticket(torch.Event() if on_device else None)

        def mark() -> None:
            if ticket.event is not None:
                ticket.event.record(self._streams[stream])

        def reached() -> None:
            self._failure.guard(stream, "record", mark)
            ticket.issued.open()  # whatever happened: nobody may wait for ever

        self._issue(stream, reached)
        return Event.marked(event, stream, ticket)

    def wait(self, stream: Stream, event: Event) -> None:
        self._failure.check()
        ticket: _Ticket = event.ticket
        if event.stream is stream:
            return
        on_device = stream in DEVICE_STREAMS
        hold = partial(ticket.hold, self._streams[stream]) if on_device else ticket.block
        guarded = partial(self._failure.guard, stream, "wait", hold)
        if ticket.issued.is_open:
            self._issue(stream, guarded)
        else:
            self._thread(stream).put(guarded)

    def query(self, event: Event) -> bool:
        self._failure.check()
        return event.ticket.has_ended()

    def synchronize(self, event: Event | None = None) -> None:
        self._failure.check()
        streams = {*DEVICE_STREAMS, *self._threads}
        tickets = [self.record(s).ticket for s in streams] if event is None else [event.ticket]
        for ticket in tickets:
            ticket.issued.wait()
            self._failure.check()  # after a failure events are no longer recorded
            ticket.block()
        self._failure.check()

    def ended(self) -> tuple[Timing, ...]:
        self._failure.check()
        for spans in self._spans.values():
            while spans and spans[0].end.query():
                self._clock.fill(spans.popleft())
        return self._log.ended()

    def timings(self) -> tuple[Timing, ...]:
        self.synchronize()
        timings = self.ended()
        self._clock.renew()
        return timings

    def memory(self) -> MemoryFigures:
        peak = torch.accelerator.max_memory_allocated(self._device)
        return self._ledger.figures(device_peak_bytes=peak)

    def free_device_bytes(self) -> int | None:
        """With what PyTorch's allocator keeps and nobody uses. Told from PyTorch 2.10 on."""
        ask = getattr(torch.accelerator, "get_memory_info", None)
        if ask is None:
            return None
        try:
            free, _ = ask(self._device)
        except RuntimeError:  # not every accelerator tells
            return None
        kept = torch.accelerator.memory_reserved(self._device)
        return int(free) + kept - torch.accelerator.memory_allocated(self._device)

    def close(self) -> None:
        if self._failure.close():
            for thread in self._threads.values():
                thread.close()
            with suppress(RuntimeError):  # a device that failed has been reported already
                torch.accelerator.synchronize()
            for buffer in self._locked:
                unpin(buffer)

    def _issue(self, stream: Stream, action: Action) -> None:
        """Now, or on the stream's thread: see [Note: who issues]."""
        idle = stream not in self._threads or self._threads[stream].idle
        if stream in DEVICE_STREAMS and idle:
            action()
        else:
            self._thread(stream).put(action)

    def _thread(self, stream: Stream) -> StreamThread:
        if stream not in self._threads:
            index = self._device.index
            self._threads[stream] = StreamThread(
                stream, lambda: torch.accelerator.set_device_index(index)
            )
        return self._threads[stream]
