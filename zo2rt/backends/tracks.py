"""How a track is named: a stream alone is that of the first device."""

from zo2sim.schedule.ops import Stream, Track

Where = Track | Stream
"""A track, or a stream of the first device."""


def track_of(where: Where) -> Track:
    """The track that is meant."""
    return where if isinstance(where, Track) else Track(0, where)
