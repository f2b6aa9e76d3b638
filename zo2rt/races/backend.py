"""A backend that watches another one for races: every copy and every tensor that work touches."""

from contextlib import AbstractContextManager
from functools import partial
from threading import local

import torch

from zo2rt.backends.base import Backend, Event, MemoryFigures, Timing, Touched, Work
from zo2rt.races.detector import Access, Location, RaceDetector
from zo2rt.races.regions import Regions
from zo2rt.races.watch import TouchedTensors
from zo2sim.schedule.ops import Buffer, Stream


class Checked(Backend):
    """Wraps ``inner``; `synchronize` and `timings` raise `RaceFound` when operations race.

    Every buffer that it hands out is watched as one place; `name` divides buffers into places of
    their own (a slot, a host block), which reports then use. Memory from elsewhere is not watched.
    """

    def __init__(self, inner: Backend, detector: RaceDetector | None = None) -> None:
        self.detector = RaceDetector() if detector is None else detector
        self._inner = inner
        self._regions = Regions()
        self._running = local()
        self._now: dict[Stream, Access] = {}
        """What runs on each stream."""

    def name(self, tensor: torch.Tensor, place: Location) -> None:
        """Watch a part of a buffer as a place of its own, such as `zo2sim.schedule.ops.Buffer`."""
        self._regions.add(tensor, place)

    def touch(self, *, reads: tuple[Touched, ...] = (), writes: tuple[Touched, ...] = ()) -> None:
        self._touched(self.current, reads, writes)

    @property
    def current(self) -> Access:
        """The operation that runs on this thread. Raises ``RuntimeError`` outside of work."""
        access = getattr(self._running, "access", None)
        if access is None:
            raise RuntimeError("touches belong to an operation; report them from launched work")
        return access

    def on_behalf_of(self, access: Access) -> AbstractContextManager[object]:
        """Watch this thread, too, as part of an operation that runs on another one (a lane)."""
        return _Running(self._running, access, TouchedTensors(partial(self._touched, access)))

    def helping(self, stream: Stream) -> AbstractContextManager[object]:
        """Watch this thread as part of whatever operation runs on ``stream`` when it touches
        something: a lane goes through many. What it touches while none runs is not watched."""
        return TouchedTensors(partial(self._helped, stream))

    def _helped(
        self, stream: Stream, reads: tuple[Touched, ...], writes: tuple[Touched, ...]
    ) -> None:
        access = self._now.get(stream)
        if access is not None:
            self._touched(access, reads, writes)

    def _touched(
        self, access: Access, reads: tuple[Touched, ...], writes: tuple[Touched, ...]
    ) -> None:
        self.detector.touches(access, reads=self._places(reads), writes=self._places(writes))

    def _places(self, touched: tuple[Touched, ...]) -> tuple[Location, ...]:
        tensors = (one for one in touched if not isinstance(one, Buffer))
        named = (one for one in touched if isinstance(one, Buffer))
        return (*self._regions.places(tensors), *named)

    @property
    def device(self) -> torch.device:
        return self._inner.device

    def device_buffer(self, nbytes: int) -> torch.Tensor:
        return self._regions.allocated(self._inner.device_buffer(nbytes), "device")

    def host_buffer(self, nbytes: int, *, pinned: bool = True) -> torch.Tensor:
        return self._regions.allocated(self._inner.host_buffer(nbytes, pinned=pinned), "host")

    def launch(self, stream: Stream, work: Work, *, label: str) -> None:
        access = self.detector.on_launch(stream, label)

        def watched() -> None:
            self._now[stream] = access
            try:
                with self.on_behalf_of(access):
                    work()
            finally:
                del self._now[stream]

        self._inner.launch(stream, watched, label=label)

    def transfer(self, stream: Stream, target: torch.Tensor, source: torch.Tensor) -> None:
        self.touch(reads=(source,), writes=(target,))
        self._inner.transfer(stream, target, source)

    def record(self, stream: Stream, event: Event | None = None) -> Event:
        event = self._inner.record(stream, event)
        self.detector.on_record(stream, event)
        return event

    def wait(self, stream: Stream, event: Event) -> None:
        self.detector.on_wait(stream, event)
        self._inner.wait(stream, event)

    def query(self, event: Event) -> bool:
        ended = self._inner.query(event)
        if ended:
            self.detector.on_synchronize(event)
        return ended

    def synchronize(self, event: Event | None = None) -> None:
        self._inner.synchronize(event)
        self.detector.on_synchronize(event)
        self.detector.check()

    def ended(self) -> tuple[Timing, ...]:
        return self._inner.ended()

    def timings(self) -> tuple[Timing, ...]:
        timings = self._inner.timings()
        self.detector.on_synchronize(None)
        self.detector.check()
        return timings

    def memory(self) -> MemoryFigures:
        return self._inner.memory()

    def free_device_bytes(self) -> int | None:
        return self._inner.free_device_bytes()

    def close(self) -> None:
        self._inner.close()


class _Running:
    """While entered, the thread runs ``access`` and is watched."""

    def __init__(self, running: local, access: Access, watch: TouchedTensors) -> None:
        self._running = running
        self._access = access
        self._watch = watch

    def __enter__(self) -> None:
        self._running.access = self._access
        self._watch.__enter__()

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(*error)
        self._running.access = None
