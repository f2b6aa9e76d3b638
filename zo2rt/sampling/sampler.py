"""A thread that reads probes at a steady pace, and never disturbs the run for more than that."""

from collections.abc import Callable, Sequence
from functools import reduce
from threading import Event, Thread
from time import perf_counter
from typing import Self

from zo2rt.sampling.sample import Probe, Reading, Sample

_JOIN_S = 10.0


class Sampler:
    """Reads all probes every ``interval_s`` between entry and exit; the first tells first.

    The samples are there after the exit. A probe that raises ends the sampling, not the run, and
    the reason is in ``notes``.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        *,
        interval_s: float = 0.1,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        if not interval_s > 0.0:
            raise ValueError(f"interval_s must be > 0; got {interval_s!r}")
        self._probes = tuple(probes)
        self._interval_s = interval_s
        self._clock = clock
        self._start_s = clock()
        self._stop = Event()
        self._samples: list[Sample] = []
        self._failure: str | None = None
        self._thread = Thread(target=self._run, name="sampler", daemon=True)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What was read so far, in order of time."""
        return tuple(self._samples)

    @property
    def now_s(self) -> float:
        """Seconds since the sampler started, on the clock of its samples."""
        return self._clock() - self._start_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read, and why."""
        said = [note for probe in self._probes for note in probe.notes]
        return (*said, self._failure) if self._failure is not None else tuple(said)

    def sample(self) -> None:
        """Read every probe now."""
        time_s = self.now_s
        readings = [probe.read() for probe in self._probes]
        self._samples.append(Sample(time_s, reduce(Reading.or_else, readings, Reading())))

    def __enter__(self) -> Self:
        self._start_s = self._clock()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            self.sample()
            while not self._stop.wait(self._interval_s):
                self.sample()
            self.sample()
        except Exception as failure:
            self._failure = f"sampling ended early: {failure!r}"
