"""The journal as an open file: durable appends, and compaction after a snapshot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self, final

from zo2rt.journal import durable
from zo2rt.journal import record as records
from zo2rt.journal.chain import DamageError, Position, seal, unseal
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.header import Header
from zo2rt.journal.reading import Base, Contents, first_line, parse, read
from zo2rt.journal.record import Record


@final
class Journal:
    """One run's journal, open in the one process that writes it.

    Every record that it shows is durable. It starts at ``base`` and has no gaps.
    """

    def __init__(self, fs: FileSystem, path: Path, contents: Contents) -> None:
        """Takes a file as it was read; use `create` or `open`."""
        self._fs = fs
        self.path = path
        self._torn_bytes = contents.torn_bytes
        self._take(contents)

    @classmethod
    def create(cls, fs: FileSystem, path: Path, header: Header, base: Base) -> Self:
        """A new journal without records. Raises ``ValueError`` when the file is there already."""
        if fs.exists(path):
            raise ValueError(
                f"{path}: a new run needs a path without a journal; one is there; "
                f"open it to go on, or choose another folder"
            )
        durable.ensure_folder(fs, path.parent)
        data = first_line(header, base)
        durable.publish(fs, path, data)
        return cls(fs, path, parse(data, where=str(path)))

    @classmethod
    def open(cls, fs: FileSystem, path: Path) -> Self:
        """An existing journal. A torn last record is cut off, and what is left made durable.

        ``cut`` says so. Raises `DamageError` as `read` does, having changed nothing.
        """
        contents = read(fs, path)
        durable.settle(fs, path, num_bytes=contents.marks[-1])
        return cls(fs, path, contents)

    @property
    def cut(self) -> str | None:
        """What was cut off when the file was opened: for people; None where nothing was."""
        if not self._torn_bytes:
            return None
        return (
            f"{self.path}: the last {self._torn_bytes} bytes were no whole record and were cut "
            f"off, as after a kill in the middle of a write; the run goes on from step "
            f"{self.position.step}"
        )

    @property
    def header(self) -> Header:
        return self._header

    @property
    def base(self) -> Base:
        return self._base

    @property
    def position(self) -> Position:
        """After the last record: what a snapshot of up-to-date weights must say."""
        return Position(step=self._base.position.step + len(self._records), sha256=self._chain[-1])

    def position_at(self, step: int) -> Position:
        """Before the record of ``step``. Raises ``ValueError`` outside of this file."""
        first, end = self._base.position.step, self.position.step
        if not first <= step <= end:
            raise ValueError(
                f"{self.path}: holds records for positions {first} to {end}; got {step}"
            )
        return Position(step=step, sha256=self._chain[step - first])

    def since(self, position: Position) -> Sequence[Record]:
        """The records to apply to weights that stand at ``position``, oldest first.

        Raises `DamageError` when other records led there.
        """
        if self.position_at(position.step) != position:
            raise DamageError(
                f"{self.path}: weights at step {position.step} must come from the journal's own "
                f"records; their digest is {position.sha256[:12]}, the journal's "
                f"{self.position_at(position.step).sha256[:12]}; they belong to another run"
            )
        return self._records[position.step - self._base.position.step :]

    def append(self, record: Record) -> None:
        """Return when the record is durable.

        Raises ``OSError`` when it could not be written: the records before it are intact, and
        the call may be tried again. Raises ``ValueError`` when it is not this run's next record.
        """
        self._check_next(record)
        line = seal(self._chain[-1], records.to_json(record))
        try:
            durable.append(self._fs, self.path, line, at=self._marks[-1])
        except OSError as error:
            raise _not_written(self.path, f"the record of step {record.step}", error) from error
        sealed = unseal(self._chain[-1], line)
        assert sealed is not None
        self._records.append(record)
        self._chain.append(sealed.sha256)
        self._marks.append(self._marks[-1] + len(line))

    def compact(self, base: Base) -> Path:
        """Move the records before a durable snapshot into an archive beside the file.

        The archive is itself a journal that can be read; it is durable before the file shrinks.
        Returns its path. An archive that is there already must hold the same bytes.
        """
        step = base.position.step
        dropped = len(self._records) - len(self.since(base.position))
        data = self._fs.read(self.path)
        archive = archive_path(self.path, self._base.position.step, step)
        shorter = first_line(self._header, base) + data[self._marks[dropped] : self._marks[-1]]
        try:
            self._archive(archive, data[: self._marks[dropped]])
            durable.publish(self._fs, self.path, shorter)
        except OSError as error:
            raise _not_written(self.path, f"the compaction at step {step}", error) from error
        self._take(parse(shorter, where=str(self.path)))
        return archive

    def _take(self, contents: Contents) -> None:
        self._header, self._base = contents.header, contents.base
        self._records = list(contents.records)
        self._chain, self._marks = list(contents.chain), list(contents.marks)

    def _archive(self, path: Path, data: bytes) -> None:
        if not self._fs.exists(path):
            durable.publish(self._fs, path, data)
        elif self._fs.read(path) != data:
            raise ValueError(
                f"{path}: must hold the records that {self.path.name} is about to drop; "
                f"it holds others; move it away, then compact again"
            )
        else:
            durable.settle(self._fs, path, num_bytes=len(data))

    def _check_next(self, record: Record) -> None:
        if record.step != self.position.step:
            raise ValueError(
                f"{self.path}: the next record must be of step {self.position.step}; "
                f"got step {record.step}"
            )
        groups = tuple(rate.group for rate in record.rates)
        if groups != self._header.group_names:
            raise ValueError(
                f"{self.path}: step {record.step}: rates must be those of the groups "
                f"{self._header.group_names}, in this order; got {groups}"
            )


def archive_path(path: Path, first: int, end: int) -> Path:
    """Where the records of steps ``first`` to ``end - 1`` go."""
    return path.with_name(f"{path.stem}-{first:08d}-{end:08d}{path.suffix}")


def _not_written(path: Path, what: str, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"{what} was not written ({error.strerror}); all records before it are intact; "
        f"make room on the disk, then try again or start again",
        str(path),
    )
