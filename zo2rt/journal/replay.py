"""Updates again, without a forward pass: weights at any step from a snapshot and its records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from zo2rt import noise
from zo2rt.journal import Header, Record, history, read
from zo2rt.journal import snapshot as snapshots
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.groups import DECAYED, by_decay
from zo2rt.journal.recovery import JOURNAL, SNAPSHOTS
from zo2rt.noise import Distribution, Extent

KINDS: Mapping[str, Distribution] = {kind: kind for kind in get_args(Distribution)}
"""Noise that a journal can be replayed with, by its name in the header."""


def replay(weights: Mapping[str, Tensor], header: Header, records: Sequence[Record]) -> None:
    """Apply the records, oldest first, to the weights of every parameter of the header.

    Gives the bits of the run that wrote them, whatever the device and the number of threads.
    """
    if not records:
        return
    groups = by_decay(records)
    with torch.no_grad():
        for entry in header.parameters:
            noise.update(
                weights[entry.name].view(-1),
                Extent(p=entry.p, threshold=entry.threshold),
                updates=groups[entry.group == DECAYED],
                kind=KINDS[header.noise],
                stochastic_rounding=header.stochastic_rounding,
            )


def weights_at(fs: FileSystem, folder: Path, step: int) -> dict[str, Tensor]:
    """The trained weights of the run in ``folder`` before ``step``, which is that many updates.

    From the newest whole snapshot that is not later. Raises ``ValueError`` where the journal does
    not reach that far, and `DamageError` where what is needed is damaged.
    """
    contents = read(fs, folder / JOURNAL)
    if not 0 <= step <= contents.position.step:
        raise ValueError(
            f"{folder}: the journal reaches step {contents.position.step}; step must be between 0 "
            f"and that; got {step}"
        )
    snapshot = snapshots.latest(fs, folder / SNAPSHOTS, before=step).snapshot
    if snapshot is None:
        raise ValueError(f"{folder / SNAPSHOTS}: must hold a snapshot of step {step} or earlier")
    weights = {name: tensor.clone() for name, tensor in snapshots.read(fs, snapshot)}
    records = history(fs, folder / JOURNAL, snapshot.position)
    replay(weights, contents.header, records[: step - snapshot.position.step])
    return weights
