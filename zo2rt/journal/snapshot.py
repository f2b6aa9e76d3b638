"""Snapshots: weights at one position of the journal, whole or not there at all.

A snapshot is a folder ``step-00000100``: safetensors shards and a sealed ``manifest.json`` with the
SHA-256 of each of their tensors, taken from the weights. It is filled under a temporary name,
fsynced and read back file by file, and then renamed, so no reader ever sees a part of it, or one
that holds anything else; nothing is overwritten. The base of a run that began from a model's files
has their digests in its manifest, and no shard for what is in them.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor

from zo2rt.journal import durable
from zo2rt.journal import shard as shards
from zo2rt.journal.chain import FIRST, DamageError, Position, seal, unseal
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.shard import Drawn, Shard
from zo2sim.memory.account import SHARD_BYTES

FORMAT_VERSION = 2
WITH_FILES = 3
"""The version of a snapshot that names files: who knows the other one only must not read it."""
KEPT = 2
"""Newest snapshots that `prune` keeps."""
_MANIFEST = "manifest.json"
_PREFIX = "step-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot on disk. ``sha256`` covers its position and every byte of its shards.

    ``files`` are digests of files elsewhere, by name, that hold the rest of its weights.
    """

    folder: Path
    position: Position
    shards: tuple[Shard, ...]
    sha256: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The newest snapshot that is whole, or None where there is none at all.

    ``damaged`` says what is wrong with each newer one that was passed over: tell the user.
    """

    snapshot: Snapshot | None
    damaged: tuple[str, ...] = ()


def write(
    fs: FileSystem,
    folder: Path,
    position: Position,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    shard_bytes: int = SHARD_BYTES,
    files: Mapping[str, str] | None = None,
) -> Snapshot:
    """Return when the snapshot is durable, and was read back. ``tensors`` are drawn one by one.

    ``files`` are digests, by name, of what holds the rest of the weights.

    ``position`` must be one that the journal gave: its records are durable already. Raises
    ``ValueError`` when the folder holds a snapshot of that step, ``OSError`` when it could not be
    written, and `DamageError` when it does not hold what was drawn; earlier ones are untouched.
    """
    target = folder / f"{_PREFIX}{position.step:08d}"
    durable.ensure_folder(fs, folder)
    durable.remove_temporary(fs, (folder / name for name in fs.names(folder)))
    if fs.exists(target):
        raise ValueError(
            f"{target}: snapshots are never overwritten, and this one is there; "
            f"move it away, or write to another folder"
        )
    try:
        _fill(fs, target, position, _drawn(tensors, shard_bytes), files or {})
    except OSError as error:
        raise OSError(
            error.errno,
            f"the snapshot of step {position.step} was not written ({error.strerror}); earlier "
            f"ones and the journal are intact; make room on the disk, then write it again",
            str(target),
        ) from error
    except DamageError as error:
        raise DamageError(
            f"the snapshot of step {position.step} must hold the weights, and what was read back "
            f"does not; it was removed, earlier ones and the journal are intact; {error}"
        ) from error
    return _checked_manifest(fs, target)


def latest(fs: FileSystem, folder: Path, *, before: int | None = None) -> Latest:
    """The newest snapshot whose every byte is as it was written; reads all of it.

    With ``before``, of those up to that step. Raises `DamageError` naming what is wrong when there
    are snapshots and none is whole.
    """
    damaged: list[str] = []
    for path in _folders(fs, folder):
        if before is not None and _step(path) > before:
            continue
        try:
            return Latest(snapshot=check(fs, path), damaged=tuple(damaged))
        except DamageError as error:
            damaged.append(str(error))
    if damaged:
        raise DamageError(f"{folder}: at least one snapshot must be whole; {'; '.join(damaged)}")
    return Latest(snapshot=None)


def check_at(fs: FileSystem, folder: Path, position: Position) -> Snapshot | None:
    """The snapshot of a position if it is there and whole; None if there is none of that step.

    Raises `DamageError` when it is damaged, or of other records.
    """
    path = folder / f"{_PREFIX}{position.step:08d}"
    if not fs.exists(path):
        return None
    snapshot = check(fs, path)
    if snapshot.position != position:
        raise DamageError(f"{path}: must come from this run's records; it comes from others")
    return snapshot


def prune(fs: FileSystem, folder: Path) -> None:
    """Keep the first snapshot and the `KEPT` newest; call it when the newest is known to be whole.

    From the first one and the records every step can be rebuilt; of the newest ones the second is
    there for when the first is damaged. What a killed process left half written or half removed
    goes too.
    """
    durable.remove_temporary(fs, (folder / name for name in fs.names(folder)))
    for path in _folders(fs, folder)[KEPT:-1]:
        condemned = path.with_name(path.name + durable.TEMPORARY)
        fs.rename(path, condemned)  # no reader sees a part of it
        fs.fsync_folder(folder)
        durable.remove_tree(fs, condemned)


def check(fs: FileSystem, path: Path) -> Snapshot:
    """The snapshot in the folder ``path``. Raises `DamageError` naming a file that is not whole."""
    snapshot = _checked_manifest(fs, path)
    for shard in snapshot.shards:
        shards.checked(fs, path, shard)
    return snapshot


def read(fs: FileSystem, snapshot: Snapshot) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors in the order in which they were written, a shard in memory at a time.

    Raises `DamageError` before any tensor of a damaged shard is given out.
    """
    for shard in snapshot.shards:
        yield from shards.Held(fs, snapshot.folder, shard).items()


def base_files(fs: FileSystem, folder: Path) -> Mapping[str, str]:
    """Digests of the files that the first snapshot leaves weights to.

    None where it has all weights, or is damaged: a run goes on without it.
    """
    found = _folders(fs, folder)
    with suppress(DamageError):
        return _checked_manifest(fs, found[-1]).files if found else {}
    return {}


class Weights(Mapping[str, Tensor]):
    """A snapshot's tensors by name; the file that was read last is in memory, checked."""

    def __init__(self, fs: FileSystem, snapshot: Snapshot) -> None:
        self._fs, self._folder = fs, snapshot.folder
        self._shards = {name: shard for shard in snapshot.shards for name in shard.tensors}
        self._last: tuple[Shard, shards.Held] | None = None

    def __getitem__(self, name: str) -> Tensor:
        shard = self._shards[name]
        if self._last is None or self._last[0] is not shard:
            self._last = None  # before the next one is read
            self._last = shard, shards.Held(self._fs, self._folder, shard)
        return self._last[1][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shards)

    def __len__(self) -> int:
        return len(self._shards)


def _fill(
    fs: FileSystem,
    target: Path,
    position: Position,
    parts: Iterable[list[Drawn]],
    files: Mapping[str, str],
) -> None:
    with durable.published(fs, target) as temporary:
        fs.make_folder(temporary)
        written = [
            shards.write(fs, temporary / f"weights-{number:05d}.safetensors", drawn)
            for number, drawn in enumerate(parts, start=1)
        ]
        manifest = {
            "format": WITH_FILES if files else FORMAT_VERSION,
            "position": asdict(position),
            "shards": [asdict(shard) for shard in written],
        } | ({"files": dict(files)} if files else {})
        durable.write_new(fs, temporary / _MANIFEST, seal(FIRST, manifest))
        fs.fsync_folder(temporary)


def _drawn(pairs: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[list[Drawn]]:
    """What goes into each shard."""
    part: list[Drawn] = []
    seen: set[str] = set()
    for name, tensor in pairs:
        if name in seen:
            raise ValueError(f"names of tensors in a snapshot must differ; {name} comes twice")
        if part and sum(len(one.data) for one in part) + tensor.nbytes > limit:
            yield part
            part = []
        seen.add(name)
        part.append(Drawn.of(name, tensor))
    if part:
        yield part


def _folders(fs: FileSystem, folder: Path) -> list[Path]:
    """Published snapshots, newest first."""
    if not fs.exists(folder):
        return []
    steps = [name.removeprefix(_PREFIX) for name in fs.names(folder) if name.startswith(_PREFIX)]
    numbers = sorted((step for step in steps if step.isdecimal()), key=int, reverse=True)
    return [folder / f"{_PREFIX}{step}" for step in numbers]


def _step(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def _checked_manifest(fs: FileSystem, path: Path) -> Snapshot:
    try:
        sealed = unseal(FIRST, fs.read(path / _MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        raise DamageError(f"{path / _MANIFEST}: must be there; it is missing") from None
    if sealed is None:
        raise DamageError(f"{path / _MANIFEST}: must be as it was written; it is damaged")
    content = sealed.content
    if content.get("format") not in (FORMAT_VERSION, WITH_FILES):
        raise ValueError(
            f"{path / _MANIFEST}: format must be {FORMAT_VERSION} or {WITH_FILES}; got "
            f"{content.get('format')!r}; read it with the version that wrote it"
        )
    position = Position(**content["position"])
    if path.name != f"{_PREFIX}{position.step:08d}":
        raise DamageError(f"{path}: the folder's name must be that of step {position.step}")
    return Snapshot(
        folder=path,
        position=position,
        shards=tuple(Shard(**shard) for shard in content["shards"]),
        sha256=sealed.sha256,
        files=content.get("files", {}),
    )
