"""A document as JSON and back: how a run keeps its words for a paper that is assembled later."""

import json
from typing import Any

from analysis.report.document import (
    Block,
    Code,
    Document,
    FigureBlock,
    File,
    Paragraph,
    Piece,
    Ref,
    Section,
    TableBlock,
    Text,
    printable,
)

Json = dict[str, Any]

SCHEMA = 1
_PARTS = {"ref": Ref, "code": Code, "file": File, "text": str}


def dump(document: Document) -> str:
    """The text of the file; the same document gives the same text."""
    return json.dumps({"schema": SCHEMA, **fields(document)}, indent=1) + "\n"


def load(text: str, *, where: str) -> Document:
    """The document of a file. Raises ``ValueError`` that names the file where it holds none."""
    try:
        file = json.loads(text)
        if file["schema"] != SCHEMA:
            raise ValueError(f"its schema must be {SCHEMA}; got {file['schema']!r}")
        return _document(file)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: must hold a document; {type(error).__name__} {error}") from None
    except ValueError as error:
        raise ValueError(f"{where}: must hold a document; {error}") from None


def fields(document: Document) -> Json:
    """The document as plain lists and dictionaries, which the PDF's template takes too."""
    return {
        "title": printable(document.title),
        "abstract": _text(document.abstract),
        "sections": [
            {
                "title": printable(section.title),
                "level": section.level,
                "blocks": [_block(block) for block in section.blocks],
            }
            for section in document.sections
        ],
        "provenance": _cells(document.provenance),
    }


def _block(block: Block) -> Json:
    match block:
        case Paragraph():
            return {"kind": "paragraph", "text": _text(block.text)}
        case FigureBlock():
            return _float("figure", block)
        case TableBlock():
            header, *rows = _cells((block.header, *block.rows))
            return {**_float("table", block), "header": header, "rows": rows}


def _float(kind: str, block: FigureBlock | TableBlock) -> Json:
    return {
        "kind": kind,
        "key": block.key,
        "caption": _text((block.caption,)),
        "wide": block.wide,
    }


def _cells(rows: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    return [[printable(cell) for cell in row] for row in rows]


def _text(text: Text) -> list[Json]:
    return [_part(part) for part in text]


def _part(part: Piece) -> Json:
    match part:
        case Ref():
            return {"kind": "ref", "text": part.key}
        case Code():
            return {"kind": "code", "text": printable(part.text)}
        case File():
            return {"kind": "file", "text": printable(part.name)}
        case str():
            return {"kind": "text", "text": printable(part)}


def _document(file: Json) -> Document:
    return Document(
        title=file["title"],
        abstract=_read_text(file["abstract"]),
        sections=tuple(
            Section(
                section["title"],
                tuple(_read_block(block) for block in section["blocks"]),
                section["level"],
            )
            for section in file["sections"]
        ),
        provenance=tuple((name, value) for name, value in file["provenance"]),
    )


def _read_block(block: Json) -> Block:
    if block["kind"] == "paragraph":
        return Paragraph(*_read_text(block["text"]))
    floats: Json = {
        "key": block["key"],
        "caption": "".join(part["text"] for part in block["caption"]),
        "wide": bool(block["wide"]),
    }
    if block["kind"] == "figure":
        return FigureBlock(**floats)
    rows = tuple(tuple(row) for row in block["rows"])
    return TableBlock(**floats, header=tuple(block["header"]), rows=rows)


def _read_text(parts: list[Json]) -> Text:
    return tuple(_PARTS[part["kind"]](part["text"]) for part in parts)
