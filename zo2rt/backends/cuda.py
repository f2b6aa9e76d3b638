"""`cuda`: streams and events of accelerators, through PyTorch's device-generic interface.

# [Note: who issues]
h2d, compute and d2h are streams of a device; the caller itself issues what they are given, at
once, so work that launches kernels costs no hand-over. The host's streams (host, nvme) are
threads. A device cannot wait for a thread, so when a device stream is told to wait for work of
the host that has not ended, its issuing moves to a thread of its own, which blocks there in the
caller's place, and returns to the caller once that thread has nothing left to issue.

Buffers live until `close`, so nothing needs `record_stream`: order comes from events alone. An
event of one device is waited for by a stream of another like any other.

[Note: peer copies] PyTorch runs a copy between two devices on the current stream of the one that
it comes from, and lets that and the current stream of the other wait for each other, before and
after (`copy_device_to_device` in its aten/src/ATen/native/cuda/Copy.cu). So a track that copies
from another device has a stream there that nothing else uses: what is copied is ordered as the
track is, and a device's other streams wait for nothing.
"""

from collections import deque
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import NamedTuple

import torch

from zo2rt.backends.ambient import Ambient
from zo2rt.backends.base import Backend, Event, MemoryFigures, Timing, Work, check_copy
from zo2rt.backends.buffers import PAGE_BYTES, HandedOut, aligned_buffer, check_size, pin, unpin
from zo2rt.backends.sockets import near
from zo2rt.backends.threads import Action, Failure, Gate, StreamThread
from zo2rt.backends.timing_log import Entry, TimingLog
from zo2rt.backends.tracks import Where, track_of
from zo2sim.models.shapes import TENSOR_GRAIN_BYTES
from zo2sim.schedule.ops import Stream, Track

DEVICE_STREAMS = (Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.PEER)
"""Streams of a device, the last one only where there are several; others are the host's threads."""

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
    """Events of one device in seconds on the host's clock, through a moment known on both.

    PyTorch reports fp32 milliseconds, which after 1000 s from the moment resolve 60 us only. So it
    moves along: from event to event without waiting, and, where the caller waits anyway, to a new
    one on both clocks, which ends what they have drifted apart.
    """

    def __init__(self, log: TimingLog, device: torch.device, stream: torch.Stream) -> None:
        self._log = log
        self._device = device
        self._stream = stream
        self.renew()

    def renew(self) -> None:
        """Blocks until the device is idle."""
        torch.accelerator.synchronize(self._device)
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
    """The current accelerator, and of ``devices`` more than one those that come after it.

    ``pageable_copies`` allows what would otherwise be refused: a copy from or to host memory that
    is not page-locked, which PyTorch silently runs one at a time.
    """

    def __init__(self, *, devices: int = 1, pageable_copies: bool = False) -> None:
        self._devices = _accelerators(devices)
        self._pageable_copies = pageable_copies
        self._ledger = HandedOut([0] * devices)
        self._locked: list[torch.Tensor] = []
        self._log = TimingLog()
        self._failure = Failure()
        self._streams = {
            Track(number, stream): torch.Stream(device=device)
            for number, device in enumerate(self._devices)
            for stream in DEVICE_STREAMS
            if devices > 1 or stream is not Stream.PEER
        }
        self._sending: dict[tuple[Track, torch.device], torch.Stream] = {}
        self._threads: dict[Track, StreamThread] = {}
        self._clocks = tuple(
            _DeviceClock(self._log, device, self._streams[Track(number, Stream.COMPUTE)])
            for number, device in enumerate(self._devices)
        )
        self._spans = {track: deque[_Span]() for track in self._streams}

    @property
    def devices(self) -> tuple[torch.device, ...]:
        return self._devices

    def device_buffer(self, nbytes: int, *, device: int = 0) -> torch.Tensor:
        check_size(nbytes)
        there = self._devices[device]
        buffer = torch.empty(nbytes, dtype=torch.uint8, device=there)
        # The allocator may hand out memory that the current stream has yet to finish with.
        torch.accelerator.synchronize(there)
        assert buffer.data_ptr() % TENSOR_GRAIN_BYTES == 0
        self._ledger.by_device[device] += nbytes
        return buffer

    def host_buffer(self, nbytes: int, *, pinned: bool = True, device: int = 0) -> torch.Tensor:
        with near(self._devices[device]):
            buffer = self._page_locked(nbytes) if pinned else aligned_buffer(nbytes)
        self._ledger.add_host(nbytes, pinned=pinned)
        return buffer

    def _page_locked(self, nbytes: int) -> torch.Tensor:
        if self.device.type != "cuda":
            check_size(nbytes)
            return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
        buffer = aligned_buffer(nbytes, PAGE_BYTES)
        pin(buffer)
        self._locked.append(buffer)
        assert buffer.is_pinned()
        return buffer

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        self._failure.check()
        track = track_of(track)
        ambient = Ambient.current(("cpu", self.device.type))
        entry = self._log.open(track, label)
        run = self._on_device if track in self._streams else self._on_host

        def entered() -> None:
            with ambient.entered():
                run(entry, work)

        self._issue(track, lambda: self._failure.guard(track, label, entered))

    def _on_host(self, entry: Entry, work: Work) -> None:
        entry.start_s = self._log.now_s()
        work()
        entry.end_s = self._log.now_s()

    def _on_device(self, entry: Entry, work: Work) -> None:
        start, end = torch.Event(enable_timing=True), torch.Event(enable_timing=True)
        stream = self._streams[entry.track]
        with stream:
            start.record(stream)
            work()
            end.record(stream)
        self._spans[entry.track].append(_Span(entry, start, end))

    def transfer(self, track: Where, target: torch.Tensor, source: torch.Tensor) -> None:
        check_copy(target, source)
        track = track_of(track)
        on_device = track in self._streams
        if on_device:
            self._check_locked(target)
            self._check_locked(source)
        with self._sending_from(device_of(source), track):
            target.copy_(source, non_blocking=on_device)

    def _sending_from(self, device: torch.device, track: Track) -> AbstractContextManager[object]:
        """The stream of another device on which PyTorch copies; see [Note: peer copies]."""
        if device.type == "cpu" or device == self._devices[track.device]:
            return nullcontext()
        key = (track, device)
        if key not in self._sending:
            self._sending[key] = torch.Stream(device=device)
        return self._sending[key]

    def is_elsewhere(self, tensor: torch.Tensor, device: int) -> bool:
        place = device_of(tensor)
        return place.type == self.device.type and place != self._devices[device]

    def _check_locked(self, tensor: torch.Tensor) -> None:
        if device_of(tensor).type == "cpu" and not (self._pageable_copies or tensor.is_pinned()):
            raise ValueError(
                "host memory must be page-locked to be copied without waiting; got a "
                "pageable buffer; allocate it with host_buffer(..., pinned=True), or open the "
                "backend with pageable_copies=True"
            )

    def record(self, track: Where, event: Event | None = None) -> Event:
        self._failure.check()
        track = track_of(track)
        stream = self._streams.get(track)
        ticket = _Ticket(None if stream is None else torch.Event())

        def mark() -> None:
            if ticket.event is not None:
                ticket.event.record(stream)

        def reached() -> None:
            self._failure.guard(track, "record", mark)
            ticket.issued.open()  # whatever happened: nobody may wait for ever

        self._issue(track, reached)
        return Event.marked(event, track, ticket)

    def wait(self, track: Where, event: Event) -> None:
        self._failure.check()
        track, ticket = track_of(track), event.ticket
        if event.track == track:
            return
        stream = self._streams.get(track)
        hold = ticket.block if stream is None else partial(ticket.hold, stream)
        guarded = partial(self._failure.guard, track, "wait", hold)
        if ticket.issued.is_open:
            self._issue(track, guarded)
        else:
            self._thread(track).put(guarded)

    def query(self, event: Event) -> bool:
        self._failure.check()
        return event.ticket.has_ended()

    def synchronize(self, event: Event | None = None) -> None:
        self._failure.check()
        tracks = {*self._streams, *self._threads}
        tickets = [self.record(t).ticket for t in tracks] if event is None else [event.ticket]
        for ticket in tickets:
            ticket.issued.wait()
            self._failure.check()  # after a failure events are no longer recorded
            ticket.block()
        self._failure.check()

    def ended(self) -> tuple[Timing, ...]:
        self._failure.check()
        for track, spans in self._spans.items():
            while spans and spans[0].end.query():
                self._clocks[track.device].fill(spans.popleft())
        return self._log.ended()

    def timings(self) -> tuple[Timing, ...]:
        self.synchronize()
        timings = self.ended()
        for clock in self._clocks:
            clock.renew()
        return timings

    def memory(self) -> MemoryFigures:
        peak = sum(map(torch.accelerator.max_memory_allocated, self._devices))
        return self._ledger.figures(device_peak_bytes=peak)

    def free_device_bytes(self, device: int = 0) -> int | None:
        """With what PyTorch's allocator keeps and nobody uses. Told from PyTorch 2.10 on."""
        ask = getattr(torch.accelerator, "get_memory_info", None)
        if ask is None:
            return None
        there = self._devices[device]
        try:
            free, _ = ask(there)
        except RuntimeError:  # not every accelerator tells
            return None
        kept = torch.accelerator.memory_reserved(there)
        return int(free) + kept - torch.accelerator.memory_allocated(there)

    def close(self) -> None:
        if self._failure.close():
            for thread in self._threads.values():
                thread.close()
            for device in self._devices:
                with suppress(RuntimeError):  # a device that failed has been reported already
                    torch.accelerator.synchronize(device)
            for buffer in self._locked:
                unpin(buffer)

    def _issue(self, track: Track, action: Action) -> None:
        """Now, or on the track's thread: see [Note: who issues]."""
        idle = track not in self._threads or self._threads[track].idle
        if track in self._streams and idle:
            action()
        else:
            self._thread(track).put(action)

    def _thread(self, track: Track) -> StreamThread:
        if track not in self._threads:
            index = self._devices[track.device].index
            self._threads[track] = StreamThread(
                track, lambda: torch.accelerator.set_device_index(index)
            )
        return self._threads[track]


def device_of(tensor: torch.Tensor) -> torch.device:
    """Where a tensor is."""
    return tensor.device


def _accelerators(count: int) -> tuple[torch.device, ...]:
    """The current one, and those after it."""
    kind = torch.accelerator.current_accelerator()
    if kind is None or not torch.accelerator.is_available():
        raise RuntimeError("there is no accelerator; use --backend host or virtual")
    first = torch.accelerator.current_device_index()
    there = torch.accelerator.device_count() if count > 1 else first + 1
    if not 1 <= count <= there - first:
        raise ValueError(
            f"devices={count} must be from 1 to the number of accelerators from the current one "
            f"on; there are {there}, and number {first} is the current one"
        )
    return tuple(torch.device(kind.type, first + number) for number in range(count))
