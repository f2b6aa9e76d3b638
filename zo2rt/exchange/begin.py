"""All ranks at one position of one run: rank 0 opens it, the others follow and confirm.

Rank 0 alone touches the run's folder. It tells the others what the run is, and which records come
after which snapshot; who sees that snapshot begins there, anybody else with the weights that it
loaded and every record that there is. No forward pass is made again.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zo2rt.exchange.exchange import Exchange, FirstFailed, RankGone
from zo2rt.journal import DamageError, Header, Position, Record, check_same, history
from zo2rt.journal import header as headers
from zo2rt.journal import record as records
from zo2rt.journal import snapshot as snapshots
from zo2rt.journal.durable import Disk
from zo2rt.journal.model_files import NONE, ModelFiles
from zo2rt.journal.recovery import SNAPSHOTS
from zo2rt.journal.run import JournalledRun, RunFolder, after
from zo2rt.tensor_file import weights_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedRun:
    """A run that rank 0 keeps, as another rank sees it: what `JournalledRun` promises, unwritten.

    Where the folder is not there, nothing is.
    """

    folder: Path
    position: Position
    damaged: tuple[str, ...] = ()
    journal: None = None

    def snapshot(self, weights: object) -> Path:
        """Where rank 0 writes it."""
        return self.folder / SNAPSHOTS

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where all ranks stand, and with which trained weights; see `JournalledRun.weights`.

    ``run`` is None where nothing is kept.
    """

    position: Position
    run: JournalledRun | FollowedRun | None
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run to begin or to go on with, from the ``trained`` weights; ``files`` hold some of them.

    On rank 0 it is kept in ``folder``, if there is one; another rank looks there for snapshots.
    """

    folder: RunFolder | None
    header: Header
    trained: Mapping[str, Tensor]
    files: ModelFiles = NONE

    def kept(self) -> JournalledRun | None:
        if self.folder is None:
            return None
        return JournalledRun(self.folder, self.header, self.trained, self.files)

    def begun(self, run: JournalledRun | None) -> Begun:
        """Where rank 0 stands, or one process."""
        if run is None:
            return Begun(position=self.header.start, run=None, weights=self.trained)
        return Begun(position=run.journal.position, run=run, weights=run.weights(self.trained))


def begin(exchange: Exchange, wanted: Wanted) -> Begun:
    """The run in rank 0's folder, or a new one.

    Raises what `JournalledRun` does, on every rank, and ``ValueError`` that names the rank whose
    settings are not rank 0's, or that has other weights after all of it.
    """
    if exchange.size == 1:
        return wanted.begun(wanted.kept())
    start = _lead if exchange.rank == 0 else _follow
    try:
        return start(exchange, wanted)
    except RankGone as gone:
        advice = "no step was made; start again with any number of ranks"
        raise RankGone(gone.gone, gone.what, advice) from None


def _lead(exchange: Exchange, wanted: Wanted) -> Begun:
    with ExitStack() as undone:
        try:
            run = wanted.kept()
        except (ValueError, OSError) as error:
            exchange.from_first(json.dumps({"error": str(error)}).encode())
            raise
        if run is not None:
            undone.callback(run.close)
        exchange.from_first(json.dumps(_told(wanted.header, run)).encode())
        _agree(exchange, "")
        if _someone(exchange, here=False):
            assert run is not None, "nobody misses the records of a run without a journal"
            whole = history(run.fs, run.journal.path, run.journal.header.start)
            exchange.from_first(_json(whole))
        begun = wanted.begun(run)
        _confirm(exchange, begun.weights)
        undone.pop_all()
        return begun


def _told(header: Header, run: JournalledRun | None) -> dict[str, Any]:
    """Of a new run the weights are what every rank loaded, and there are no records."""
    told: dict[str, Any] = {"header": headers.to_json(header), "position": asdict(header.start)}
    if run is None:
        return told | {"snapshot": None, "records": []}
    start, journal = run.resumed, run.journal
    at = {"position": asdict(start.snapshot.position), "sha256": start.snapshot.sha256}
    return told | {
        "position": asdict(journal.position),
        "snapshot": at if run.goes_on else None,
        "records": [records.to_json(record) for record in start.records],
    }


def _follow(exchange: Exchange, wanted: Wanted) -> Begun:
    folder, header = wanted.folder, wanted.header
    told = json.loads(exchange.from_first(None))
    if "error" in told:
        raise FirstFailed(f"rank 0 could not begin the run: {told['error']}")
    _agree(exchange, _difference(headers.from_json(told["header"]), header, exchange.rank))
    at, position = told["snapshot"], Position(**told["position"])
    found = None if at is None else _snapshot(folder, at)
    missing = at is not None and found is None
    since = told["records"]
    if _someone(exchange, here=missing):
        whole = json.loads(exchange.from_first(None))
        since = whole if missing else since
    fs = Disk() if folder is None else folder.fs
    made = [records.from_json(record) for record in since]
    weights = after(fs, found, wanted.trained, header, made) if at else wanted.trained
    _confirm(exchange, weights)
    run = None if folder is None else FollowedRun(folder=folder.path, position=position)
    return Begun(position=position, run=run, weights=weights)


def _snapshot(folder: RunFolder | None, at: Mapping[str, Any]) -> snapshots.Snapshot | None:
    """Rank 0's, if it can be seen from here, and is whole."""
    if folder is None:
        return None
    position = Position(**at["position"])
    try:
        found = snapshots.check_at(folder.fs, folder.path / SNAPSHOTS, position)
    except (DamageError, OSError):
        return None
    return None if found is None or found.sha256 != at["sha256"] else found


def _difference(first: Header, own: Header, rank: int) -> str:
    try:
        check_same(first, own, where=f"rank {rank} beside rank 0")
    except ValueError as error:
        return str(error)
    return ""


def _agree(exchange: Exchange, complaint: str) -> None:
    """Raise everybody's first complaint on every rank."""
    found = exchange.gather(complaint.encode(), limit_s=exchange.patience.once_s)
    first = next((text.decode() for text in found if text), None)
    if first is not None:
        raise ValueError(first)


def _someone(exchange: Exchange, *, here: bool) -> bool:
    found = exchange.gather(bytes([here]), limit_s=exchange.patience.once_s)
    return b"\1" in found


def _confirm(exchange: Exchange, weights: Mapping[str, Tensor]) -> None:
    own = weights_sha256(weights.items()).encode()
    found = exchange.gather(own, limit_s=exchange.patience.once_s)
    others = [rank for rank, one in enumerate(found) if one != found[0]]
    if others:
        raise ValueError(
            f"every rank must have rank 0's weights, {found[0].decode()[:12]}, where the run "
            f"begins; rank {others[0]} has {found[others[0]].decode()[:12]}; load the same model "
            f"on every rank, as it was before its first step"
        )


def _json(whole: Sequence[Record]) -> bytes:
    return json.dumps([records.to_json(record) for record in whole]).encode()
