"""The schedule as data, and its proofs. Imports nothing of ours.

`ops` is the IR, `edges` derives what waits for what from declared accesses, `unroll` lays periods
end to end, `text` prints and reads. `verify` proves order (its findings are `hazard`s), `versions`
that every read sees the records that it should, `completeness` that nothing which a model asks for
is left out.
"""

from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Program, Schedule, Stream, Track

__all__ = [
    "Buffer",
    "BufferSpace",
    "Kind",
    "Op",
    "Program",
    "Schedule",
    "Stream",
    "Track",
]
