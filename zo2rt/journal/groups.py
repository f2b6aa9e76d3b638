"""The two parameter groups: what records do to weights that decay, and to the others."""

from collections.abc import Sequence

from zo2rt.journal.record import Record
from zo2rt.noise import Update

DECAYED, UNDECAYED = "decayed", "undecayed"
"""The two parameter groups: weight decay applies to the first."""


def by_decay(records: Sequence[Record]) -> dict[bool, list[Update]]:
    """Updates of parameters that decay, and of those that do not; skipped steps have none."""
    applied = [record for record in records if not record.skipped]
    groups = ((True, DECAYED), (False, UNDECAYED))
    return {decays: [record.update(group) for record in applied] for decays, group in groups}
