"""Reading a journal: bytes to records, or an error that names the record and the byte."""

from dataclasses import dataclass
from pathlib import Path

from zo2rt.journal import header as headers
from zo2rt.journal import record as records
from zo2rt.journal.chain import FIRST, DamageError, Position, Sealed, is_torn, seal, unseal
from zo2rt.journal.durable import FileSystem
from zo2rt.journal.header import Header
from zo2rt.journal.record import Record

FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The snapshot that a journal file starts from: where it stands, and its digest."""

    position: Position
    snapshot_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A journal file. ``marks`` are byte offsets: ``marks[i]`` is where record ``i`` starts, the
    last one where the whole records end; ``chain`` holds the digest at each mark.

    ``torn_bytes`` follow the last mark: what a crash left of a record that nobody relied on.
    """

    header: Header
    base: Base
    records: tuple[Record, ...]
    chain: tuple[str, ...]
    marks: tuple[int, ...]
    torn_bytes: int

    @property
    def position(self) -> Position:
        return Position(step=self.base.position.step + len(self.records), sha256=self.chain[-1])


def read(fs: FileSystem, path: Path) -> Contents:
    """The journal in a file. A torn last record is left out; nothing is written.

    Raises `DamageError` naming record and byte offset for any other damage.
    """
    return parse(fs.read(path), where=str(path))


def first_line(header: Header, base: Base) -> bytes:
    """The first line of a journal file."""
    content = {
        "format": FORMAT_VERSION,
        "header": headers.to_json(header),
        "base": headers.to_json(base),
    }
    return seal(FIRST, content)


def parse(data: bytes, *, where: str) -> Contents:
    """`read` on bytes; ``where`` names them in errors."""
    offset = _line_end(data, 0)
    header, base = _first(data[:offset], where)
    found: list[Record] = []
    chain, marks = [base.position.sha256], [offset]
    while offset < len(data):
        end = _line_end(data, offset)
        step = base.position.step + len(found)
        sealed = unseal(chain[-1], data[offset:end])
        if sealed is None:
            if end == len(data) and is_torn(data[offset:end]):
                break
            raise _damage(where, step, offset)
        found.append(_record(sealed, step, f"{where}: record of step {step} at byte {offset}"))
        chain.append(sealed.sha256)
        marks.append(offset := end)
    return Contents(
        header=header,
        base=base,
        records=tuple(found),
        chain=tuple(chain),
        marks=tuple(marks),
        torn_bytes=len(data) - marks[-1],
    )


def _line_end(data: bytes, start: int) -> int:
    return data.find(b"\n", start) + 1 or len(data)


def _first(line: bytes, where: str) -> tuple[Header, Base]:
    sealed = unseal(FIRST, line)
    if sealed is None:
        raise DamageError(
            f"{where}: the header, {len(line)} bytes at byte 0, must be the line that was written "
            f"at the start; it is damaged; restore the file from a copy"
        )
    content = sealed.content
    if content.get("format") != FORMAT_VERSION:
        raise ValueError(
            f"{where}: format must be {FORMAT_VERSION}; got {content.get('format')!r}; "
            f"read it with the version that wrote it"
        )
    return headers.from_json(content["header"]), _base(content["base"])


def _base(value: dict[str, object]) -> Base:
    position = value["position"]
    assert isinstance(position, dict)
    return Base(position=Position(**position), snapshot_sha256=str(value["snapshot_sha256"]))


def _record(sealed: Sealed, step: int, where: str) -> Record:
    try:
        record = records.from_json(sealed.content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: must be a record of this format; {error!r}") from None
    if record.step != step:
        raise ValueError(f"{where}: records must count up by 1; it says step {record.step}")
    return record


def _damage(where: str, step: int, offset: int) -> DamageError:
    return DamageError(
        f"{where}: the record of step {step} at byte {offset} must follow the digest of those "
        f"before it; it is damaged, or a record is missing, added or out of order there; "
        f"restore the file from a copy, or cut it to {offset} bytes to go on from step {step}"
    )
