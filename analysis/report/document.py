"""A report as data: what it says, apart from how a PDF or a web page shows it.

Text is never markup. Whatever characters a string holds, readers see those characters.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

TRACE = "trace.json.gz"
"""The file of a run's folder that holds its trace."""

_LONG_CELL = 40
_KEY = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a figure or table, shown as "Figure 2"."""

    key: str


@dataclass(frozen=True, slots=True)
class Code:
    """Text in a fixed-width font."""

    text: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of the run's folder, such as its trace: a web page offers it, a PDF names it."""

    name: str


Piece = str | Ref | Code | File
Text = tuple[Piece, ...]
"""Running text: plain strings, references, code and files, in order."""


@dataclass(frozen=True, slots=True, init=False)
class Paragraph:
    """A paragraph of running text."""

    text: Text

    def __init__(self, *text: Piece) -> None:
        object.__setattr__(self, "text", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureBlock:
    """A numbered figure. ``wide`` takes the text's width; ``key`` also names the picture."""

    key: str
    caption: str
    wide: bool = False


ColumnKind = Literal["names", "numbers", "text"]
"""Text is long, and may break into lines; most of a column of names begin with a letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBlock:
    """A numbered table; the first column, names and text are set left, numbers right.

    Raises ``ValueError`` when a row has more or fewer cells than the header.
    """

    key: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.key}: every row must have {len(self.header)} cells like the "
                    f"header; row {number} has {len(row)}"
                )

    @property
    def kinds(self) -> tuple[ColumnKind, ...]:
        """Of each column."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.header)
        return tuple(_kind(column) for column in columns)


def _kind(column: Sequence[str]) -> ColumnKind:
    if any(len(cell) > _LONG_CELL for cell in column):
        return "text"
    named = sum(cell[:1].isalpha() for cell in column)
    return "names" if 2 * named > len(column) else "numbers"


Block = Paragraph | FigureBlock | TableBlock


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered section; of level 2, a part of the last section of level 1 before it."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 1

    def __post_init__(self) -> None:
        if self.level not in (1, 2):
            raise ValueError(f"section {self.title!r}: level must be 1 or 2; got {self.level}")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report. ``provenance`` says where the numbers come from, as name and value.

    Raises ``ValueError`` when two figures or tables share a key, when a key is not lower-case
    letters, digits, ``_`` and ``-``, or when a reference has no target.
    """

    title: str
    abstract: Text
    sections: tuple[Section, ...]
    provenance: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        keys = [block.key for block in self.numbered]
        for key in keys:
            if _KEY.fullmatch(key) is None:
                raise ValueError(f"a key must match {_KEY.pattern}; got {key!r}")
            if keys.count(key) > 1:
                raise ValueError(f"keys of figures and tables must be unique; twice: {key!r}")
        for text in self._texts():
            for part in text:
                if isinstance(part, Ref) and part.key not in keys:
                    raise ValueError(
                        f"a reference must point at a figure or table of the document; "
                        f"got {part.key!r}, and it has {', '.join(keys) or 'none'}"
                    )

    @property
    def numbered_sections(self) -> tuple[tuple[str, Section], ...]:
        """Each section with its number: "1", "1.1", "1.2", "2"."""
        found: list[tuple[str, Section]] = []
        first, second = 0, 0
        for section in self.sections:
            first, second = (first + 1, 0) if section.level == 1 else (first, second + 1)
            found.append((f"{first}.{second}" if second else str(first), section))
        return tuple(found)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of every section, in order."""
        return tuple(block for section in self.sections for block in section.blocks)

    @property
    def numbered(self) -> tuple[FigureBlock | TableBlock, ...]:
        """Figures and tables, in order."""
        return tuple(block for block in self.blocks if not isinstance(block, Paragraph))

    @property
    def figure_keys(self) -> tuple[str, ...]:
        """Pictures that the document needs, in order."""
        return tuple(block.key for block in self.blocks if isinstance(block, FigureBlock))

    @property
    def is_assembled(self) -> bool:
        """Whether it puts together what several reports say."""
        return any(section.level > 1 for section in self.sections)

    @property
    def names(self) -> dict[str, str]:
        """What a reference to each key says: "Figure 1", "Table 1", ..."""
        names: dict[str, str] = {}
        counts = {"Figure": 0, "Table": 0}
        for block in self.numbered:
            kind = "Figure" if isinstance(block, FigureBlock) else "Table"
            counts[kind] += 1
            names[block.key] = f"{kind} {counts[kind]}"
        return names

    def _texts(self) -> Iterator[Text]:
        yield self.abstract
        for block in self.blocks:
            if isinstance(block, Paragraph):
                yield block.text


def printable(text: str) -> str:
    """Text that any format can hold: what is no character (controls, surrogates) becomes U+FFFD."""
    return _NO_CHARACTER.sub("\ufffd", text)


_NO_CHARACTER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def check_figures(document: Document, available: Container[str]) -> None:
    """Raise ``ValueError`` when a figure of the document has no picture."""
    missing = [key for key in document.figure_keys if key not in available]
    if missing:
        raise ValueError(f"{document.title}: no picture was given for {', '.join(missing)}")
