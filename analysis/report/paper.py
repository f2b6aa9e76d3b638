"""One paper from the reports of several runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.report.document import (
    Block,
    Document,
    FigureBlock,
    File,
    Paragraph,
    Piece,
    Ref,
    Section,
    TableBlock,
    Text,
)
from analysis.report.wording import counted, listed

_SOURCES = ("command", "commit", "seed", "machine files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run's report: ``name`` is that of its folder, ``verb`` that of the command."""

    name: str
    verb: str
    document: Document
    num_records: int = 0
    files: tuple[str, ...] = ()


def prefixed(number: int, name: str) -> str:
    """The name of a figure, table or file of the ``number``-th part, inside the paper."""
    return f"run{number}-{name}"


def paper(parts: Sequence[Part], *, title: str, provenance: Mapping[str, str]) -> Document:
    """Every part as a section, its sections below it; what two parts share is said once.

    Figures, tables and files of the parts are called as `prefixed` says.
    """
    shown: dict[Section, int] = {}
    sections = [_overview(parts)]
    for number, part in enumerate(parts, start=1):
        sections += _sections(number, part, shown)
    words = (
        f"This paper puts together {counted(len(parts), 'run')}: "
        f"{listed(f'“{part.document.title}”' for part in parts)}. ",
        Ref("runs"),
        " lists what they hold. Where their numbers come from is said at the end.",
    )
    return Document(
        title=title,
        abstract=words,
        sections=tuple(sections),
        provenance=(*provenance.items(), *_sources(parts)),
    )


def _overview(parts: Sequence[Part]) -> Section:
    rows = [
        (
            part.name,
            part.verb,
            str(part.num_records),
            str(len(part.document.figure_keys)),
            str(len(part.files)),
        )
        for part in parts
    ]
    table = TableBlock(
        key="runs",
        caption="The runs of this paper, in its order.",
        header=("run", "command", "records", "figures", "traces"),
        rows=tuple(rows),
    )
    return Section("The runs", (Paragraph(Ref("runs"), " lists what was put together."), table))


def _sources(parts: Sequence[Part]) -> Iterator[tuple[str, str]]:
    for part in parts:
        for what, value in part.document.provenance:
            if what in _SOURCES:
                yield f"{part.name}: {what}", value


def _sections(number: int, part: Part, shown: dict[Section, int]) -> Iterator[Section]:
    """The part's sections; ``shown`` has those of earlier parts, with the part's number."""
    document = part.document
    names = {
        block.key: prefixed(shown.get(section, number), block.key)
        for section in document.sections
        for block in section.blocks
        if not isinstance(block, Paragraph)
    }
    names |= {name: prefixed(number, name) for name in part.files}
    yield Section(document.title, (Paragraph(*_renamed(document.abstract, names)),))
    for section in document.sections:
        if section not in shown:
            blocks = tuple(_renamed_block(block, names) for block in section.blocks)
            yield replace(section, blocks=blocks, level=2)
            if not any(isinstance(block, FigureBlock) for block in section.blocks):
                shown[section] = number


def _renamed_block(block: Block, names: Mapping[str, str]) -> Block:
    if isinstance(block, Paragraph):
        return Paragraph(*_renamed(block.text, names))
    return replace(block, key=names[block.key])


def _renamed(text: Text, names: Mapping[str, str]) -> Text:
    return tuple(_renamed_part(part, names) for part in text)


def _renamed_part(part: Piece, names: Mapping[str, str]) -> Piece:
    match part:
        case Ref():
            return Ref(names[part.key])
        case File():
            return File(names.get(part.name, part.name))
        case _:
            return part
