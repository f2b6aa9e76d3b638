"""A slow link made of a fast one: copies in chunks, each not done before its deadline.

Deadlines are absolute: chunk by chunk the time that it ought to take is added to the time at which
the copy was asked for, so what one sleep overshoots the next one makes up for, and the wake-up of
the thread that plays the copy engine costs nothing. The rate is looked up per chunk, so it changes
while a copy is under way when the other direction starts or stops. Where the other direction makes
no difference a copy is one chunk: each time that a copy wakes up it takes the interpreter from the
lanes, and what they do in Python takes a tenth longer.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from time import perf_counter, sleep
from typing import Self

import numpy as np
import torch

from zo2sim.schedule.ops import Stream

CHUNK_BYTES = 1 << 18
CHUNK_S = 4e-3
"""A chunk has at least so many bytes, and takes at least so long: short enough to notice the other
direction in time, and long enough that waking up does not take the interpreter from the lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimit:
    """Rates of a link: a direction alone, and (``both_``) with the other one busy."""

    h2d_bytes_per_s: float
    d2h_bytes_per_s: float
    both_h2d_bytes_per_s: float
    both_d2h_bytes_per_s: float

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be > 0; got {getattr(self, field.name)!r}")

    @classmethod
    def everywhere(cls, bytes_per_s: float) -> Self:
        """One rate for both directions, alone and at once."""
        return cls(**{field.name: bytes_per_s for field in fields(cls)})

    def bytes_per_s(self, stream: Stream, *, both_ways: bool) -> float:
        """Rate of the direction of ``stream``."""
        alone, both = self._rates(stream)
        return both if both_ways else alone

    def is_steady(self, stream: Stream) -> bool:
        """The other direction makes no difference."""
        alone, both = self._rates(stream)
        return alone == both

    def _rates(self, stream: Stream) -> tuple[float, float]:
        """Alone, and with the other direction busy."""
        if stream is Stream.H2D:
            return self.h2d_bytes_per_s, self.both_h2d_bytes_per_s
        return self.d2h_bytes_per_s, self.both_d2h_bytes_per_s


class Throttle:
    """Copies host memory; on h2d and d2h no faster than a limit, if there is one.

    ``clock`` and ``wait_s`` are replaced in tests. Thread-safe: one copy per direction at a time.
    """

    def __init__(
        self,
        limit: LinkLimit | None = None,
        *,
        clock: Callable[[], float] = perf_counter,
        wait_s: Callable[[float], None] = sleep,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._wait_s = wait_s
        self._busy = {Stream.H2D: False, Stream.D2H: False}

    def copy(
        self,
        stream: Stream,
        target: torch.Tensor,
        source: torch.Tensor,
        asked_s: float | None = None,
    ) -> None:
        """Copy uint8 tensors of equal length on the calling thread; None: asked for just now."""
        to, of = target.numpy(), source.numpy()
        if self._limit is None or stream not in self._busy:
            np.copyto(to, of)
            return
        self._busy[stream] = True
        try:
            self._paced(self._limit, stream, to, of, asked_s)
        finally:
            self._busy[stream] = False

    def _paced(
        self,
        limit: LinkLimit,
        stream: Stream,
        to: np.ndarray,
        of: np.ndarray,
        asked_s: float | None,
    ) -> None:
        other = Stream.D2H if stream is Stream.H2D else Stream.H2D
        steady = limit.is_steady(stream)
        deadline_s, start = self._clock() if asked_s is None else asked_s, 0
        while start < len(of):
            rate = limit.bytes_per_s(stream, both_ways=self._busy[other])
            size = len(of) if steady else max(CHUNK_BYTES, int(rate * CHUNK_S))
            chunk = slice(start, start + size)
            np.copyto(to[chunk], of[chunk])
            deadline_s += len(of[chunk]) / rate
            start = chunk.stop
            early_s = deadline_s - self._clock()
            if early_s > 0:
                self._wait_s(early_s)
