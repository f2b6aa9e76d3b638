"""A backend that watches another one for races: every copy and every tensor that work touches."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from threading import local

import torch

from zo2rt.backends.base import Backend, Event, MemoryFigures, Timing, Touched, Work
from zo2rt.backends.tracks import Where
from zo2rt.races.detector import Access, Location, RaceDetector
from zo2rt.races.regions import Regions
from zo2rt.races.watch import TouchedTensors
from zo2sim.schedule.ops import Buffer


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

    def helping(self, running: Callable[[], Access | None]) -> AbstractContextManager[object]:
        """Watch this thread as part of whatever operation is ``running`` when it touches something:
        a lane goes through many. What it touches while none runs is not watched."""
        return TouchedTensors(partial(self._helped, running))

    def _helped(
        self,
        running: Callable[[], Access | None],
        reads: tuple[Touched, ...],
        writes: tuple[Touched, ...],
    ) -> None:
        access = running()
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
    def devices(self) -> tuple[torch.device, ...]:
        return self._inner.devices

    def device_buffer(self, nbytes: int, *, device: int = 0) -> torch.Tensor:
        buffer = self._inner.device_buffer(nbytes, device=device)
        return self._regions.allocated(buffer, "device")

    def host_buffer(self, nbytes: int, *, pinned: bool = True, device: int = 0) -> torch.Tensor:
        buffer = self._inner.host_buffer(nbytes, pinned=pinned, device=device)
        return self._regions.allocated(buffer, "host")

    def launch(self, track: Where, work: Work, *, label: str) -> None:
        access = self.detector.on_launch(track, label)

        def watched() -> None:
            with self.on_behalf_of(access):
                work()

        self._inner.launch(track, watched, label=label)

    def transfer(self, track: Where, target: torch.Tensor, source: torch.Tensor) -> None:
        self.touch(reads=(source,), writes=(target,))
        self._inner.transfer(track, target, source)

    def is_elsewhere(self, tensor: torch.Tensor, device: int) -> bool:
        return self._inner.is_elsewhere(tensor, device)

    def record(self, track: Where, event: Event | None = None) -> Event:
        event = self._inner.record(track, event)
        self.detector.on_record(track, event)
        return event

    def wait(self, track: Where, event: Event) -> None:
        self.detector.on_wait(track, event)
        self._inner.wait(track, event)

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

    def free_device_bytes(self, device: int = 0) -> int | None:
        return self._inner.free_device_bytes(device)

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
