"""The two parameter groups: what a record does to weights that decay, and to the others."""

from collections.abc import Sequence

from zo2rt import noise
from zo2rt.journal.record import Record

DECAYED, UNDECAYED = "decayed", "undecayed"
"""The two parameter groups: weight decay applies to the first."""


def applied(record: Record, *, decays: bool) -> noise.Record:
    """What a record does to a parameter that decays, or to one that does not."""
    group = DECAYED if decays else UNDECAYED
    rate = next(rate for rate in record.rates if rate.group == group)
    return noise.Record(
        step=record.step,
        sample_keys=tuple(draw.key for draw in record.draws),
        projected_gradients=tuple(draw.g for draw in record.draws),
        lr=rate.lr,
        weight_decay=rate.weight_decay,
        eps=record.eps,
        skipped=record.skipped,
    )


def by_decay(records: Sequence[Record]) -> dict[bool, list[noise.Record]]:
    """`applied` of every record, for parameters that decay and for those that do not."""
    return {decays: [applied(r, decays=decays) for r in records] for decays in (True, False)}
