"""Tracks: the streams of every device. A stream alone is that of the first device."""

from typing import NamedTuple

from zo2sim.schedule.ops import Stream


class Track(NamedTuple):
    """One order: a stream of a device."""

    device: int
    stream: Stream

    def __str__(self) -> str:
        return f"{self.stream}%{self.device}" if self.device else str(self.stream)


Where = Track | Stream
"""A track, or a stream of the first device."""


def track_of(where: Where) -> Track:
    """The track that is meant."""
    return where if isinstance(where, Track) else Track(0, where)
