"""Begin a run in a folder, or go on with it: newest whole snapshot, then the records after it.

The folder holds ``journal.jsonl``, its archives beside it, and ``snapshots/``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, equal, uint8

from zo2rt.journal import Base, Journal, Record, check_same, history
from zo2rt.journal import snapshot as snapshots
from zo2rt.journal.chain import DamageError
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.header import Header
from zo2rt.journal.model_files import NONE, ModelFiles, check_unchanged
from zo2rt.journal.snapshot import Snapshot

JOURNAL = "journal.jsonl"
SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Weights are those of ``snapshot`` after the updates of ``records``, oldest first.

    ``damaged`` says what is wrong with newer snapshots that were passed over, and what was cut off
    the journal: tell the user.
    """

    journal: Journal
    snapshot: Snapshot
    records: tuple[Record, ...]
    damaged: tuple[str, ...]


def start(
    fs: FileSystem,
    folder: Path,
    header: Header,
    weights: Mapping[str, Tensor],
    *,
    files: ModelFiles = NONE,
) -> Resumed:
    """The run in ``folder``; without a journal there, a new one from ``weights``.

    Of a new run, what ``files`` hold is not written again; they must be the same when it goes on.
    May be called again after a crash at any point. Raises ``ValueError`` naming what differs when
    the run there is another one, or was made by other versions, threads or devices, and
    `DamageError` when it cannot be continued to the same bits.
    """
    if not fs.exists(folder / JOURNAL):
        _begin(fs, folder, header, weights, files)
    check_unchanged(snapshots.base_files(fs, folder / SNAPSHOTS), files.sha256, run=folder)
    journal = Journal.open(fs, folder / JOURNAL)
    check_same(journal.header, header, where=str(journal.path))
    return _resume(fs, folder, journal)


def save(
    fs: FileSystem, folder: Path, journal: Journal, weights: Iterable[tuple[str, Tensor]]
) -> Snapshot:
    """Snapshot weights that stand at the journal's end, then archive the records before it.

    ``weights`` are drawn one by one. A snapshot of that position that is there already is left. Of
    the others the first and the one before stay.
    """
    target = snapshots.check_at(fs, folder / SNAPSHOTS, journal.position)
    snapshot = target or snapshots.write(fs, folder / SNAPSHOTS, journal.position, weights)
    if journal.base.position != snapshot.position:
        journal.compact(Base(position=snapshot.position, snapshot_sha256=snapshot.sha256))
    snapshots.prune(fs, folder / SNAPSHOTS)
    return snapshot


def _begin(
    fs: FileSystem,
    folder: Path,
    header: Header,
    weights: Mapping[str, Tensor],
    files: ModelFiles,
) -> None:
    found = snapshots.latest(fs, folder / SNAPSHOTS)
    snapshot, kept = found.snapshot, [name for name in weights if name not in files.holds]
    if snapshot is None:
        pairs = ((name, weights[name]) for name in kept)
        snapshot = snapshots.write(fs, folder / SNAPSHOTS, header.start, pairs, files=files.sha256)
    elif (
        snapshot.position != header.start
        or snapshot.files != files.sha256
        or not _holds(fs, snapshot, {name: weights[name] for name in kept})
    ):
        raise ValueError(
            f"{folder}: a new run needs a folder without snapshots; {snapshot.folder.name} is "
            f"there, of other weights or settings, and no {JOURNAL}; restore the journal, or "
            f"choose another folder"
        )
    fs.fsync_folder(folder / SNAPSHOTS)  # a process killed in between may have left it undone
    base = Base(position=snapshot.position, snapshot_sha256=snapshot.sha256)
    Journal.create(fs, folder / JOURNAL, header, base)


def _resume(fs: FileSystem, folder: Path, journal: Journal) -> Resumed:
    found = snapshots.latest(fs, folder / SNAPSHOTS)
    snapshot, base = found.snapshot, journal.base
    if snapshot is None:
        raise DamageError(f"{folder / SNAPSHOTS}: must hold the journal's base; it is empty")
    if snapshot.position == base.position and snapshot.sha256 != base.snapshot_sha256:
        raise DamageError(
            f"{snapshot.folder}: must be the snapshot that {journal.path.name} starts from, "
            f"{base.snapshot_sha256[:12]}; it is {snapshot.sha256[:12]}; restore the original"
        )
    return Resumed(
        journal=journal,
        snapshot=snapshot,
        records=history(fs, journal.path, snapshot.position),
        damaged=found.damaged if journal.cut is None else (*found.damaged, journal.cut),
    )


def _holds(fs: FileSystem, snapshot: Snapshot, weights: Mapping[str, Tensor]) -> bool:
    held = snapshots.Weights(fs, snapshot)
    return held.keys() == weights.keys() and all(
        _same_bits(tensor, weights[name]) for name, tensor in held.items()
    )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    flat = (tensor.contiguous().flatten().view(uint8) for tensor in (a, b))
    return equal(*flat)
