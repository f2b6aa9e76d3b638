"""The whole history of a run: archived segments and the current file, in one chain."""

from pathlib import Path

from zo2rt.journal.chain import DamageError, Position
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.reading import Contents, read
from zo2rt.journal.record import Record


def history(fs: FileSystem, path: Path, position: Position) -> tuple[Record, ...]:
    """Every record from ``position`` on, from archives too where the journal was compacted.

    For a snapshot older than the journal's base, when the newer ones are damaged. Raises
    `DamageError` when a segment is missing, or when other records led to ``position``.
    """
    first, *others = _segments(fs, path, position.step)
    return sum((s.records for s in others), _from(first, position, path))


def records_from(fs: FileSystem, path: Path, step: int) -> tuple[Record, ...]:
    """The same from ``step`` on, whatever led there."""
    segments = _segments(fs, path, step)
    records = sum((segment.records for segment in segments), ())
    return records[step - segments[0].base.position.step :]


def _segments(fs: FileSystem, path: Path, step: int) -> list[Contents]:
    """The current file after as many archives as reach back to ``step``."""
    found = [read(fs, path)]
    while found[0].base.position.step > step:
        found.insert(0, _before(fs, path, found[0]))
    return found


def _before(fs: FileSystem, path: Path, segment: Contents) -> Contents:
    end = segment.base.position
    for name in _names_ending_at(fs, path, end.step):
        earlier = read(fs, path.with_name(name))
        if earlier.position == end:
            return earlier
    raise DamageError(
        f"{path}: the records before step {end.step} must be in an archive beside it, "
        f"{path.stem}-*-{end.step:08d}{path.suffix}; it is missing or holds other records"
    )


def _names_ending_at(fs: FileSystem, path: Path, step: int) -> tuple[str, ...]:
    start, end = f"{path.stem}-", f"-{step:08d}{path.suffix}"
    names = fs.names(path.parent)
    return tuple(name for name in names if name.startswith(start) and name.endswith(end))


def _from(segment: Contents, position: Position, path: Path) -> tuple[Record, ...]:
    number = position.step - segment.base.position.step
    if number >= len(segment.chain) or segment.chain[number] != position.sha256:
        raise DamageError(
            f"{path}: weights at step {position.step} must come from the journal's own records, "
            f"which reach step {segment.position.step}; they belong to another run, "
            f"or the journal has lost durable records"
        )
    return segment.records[number:]
