"""The journal: the source of truth of a run, of which weights are a cache (DESIGN 6).

One append-only text file: a header that fixes everything but the weights, and a record per step
that gives the step's update again without a forward pass. Positions count applied records, so
"step 7" of a snapshot means: the records of steps 0 to 6 are in it, and step 7 comes next.
"""

from zo2rt.journal.archive import history, records_from
from zo2rt.journal.chain import DamageError, Position
from zo2rt.journal.file import Journal
from zo2rt.journal.header import Environment, Group, Header, ParameterEntry, check_same
from zo2rt.journal.reading import Base, Contents, read
from zo2rt.journal.record import Rate, Record, must_skip
from zo2rt.noise import Draw

__all__ = [
    "Base",
    "Contents",
    "DamageError",
    "Draw",
    "Environment",
    "Group",
    "Header",
    "Journal",
    "ParameterEntry",
    "Position",
    "Rate",
    "Record",
    "check_same",
    "history",
    "must_skip",
    "read",
    "records_from",
]
