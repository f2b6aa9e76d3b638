"""A document as a two-column PDF, set by Typst.

The template is a Typst program that receives the document as JSON. No text is pasted into source
code, so no text can break it. Only the fonts inside Typst are used: every machine sets the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import typst

from analysis.report.document import (
    Block,
    Code,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    TableBlock,
    Text,
    check_figures,
    printable,
)

_TEMPLATE = Path(__file__).parent / "templates" / "report.typ"

Json = dict[str, object]


def pdf_bytes(document: Document, figures: Mapping[str, str]) -> bytes:
    """The PDF; the same input gives the same bytes.

    ``figures`` holds SVG text by key. Raises ``ValueError`` when a figure has no picture.
    """
    result = _compiler().compile(format="pdf", sys_inputs=_inputs(document, figures), timestamp=0)
    assert isinstance(result, bytes)
    return result


def page_pngs(document: Document, figures: Mapping[str, str], *, ppi: int = 100) -> list[bytes]:
    """Every page as a picture, to look at."""
    result = _compiler().compile(format="png", ppi=ppi, sys_inputs=_inputs(document, figures))
    return result if isinstance(result, list) else [result or b""]


def _compiler() -> typst.Compiler:
    """A fresh one for each document: a compiler forgets a template given as bytes."""
    return typst.Compiler(_TEMPLATE.read_bytes(), ignore_system_fonts=True)


def _inputs(document: Document, figures: Mapping[str, str]) -> dict[str, str]:
    check_figures(document, figures)
    return {"document": json.dumps(_document(document, figures))}


def _document(document: Document, figures: Mapping[str, str]) -> Json:
    return {
        "title": printable(document.title),
        "abstract": _text(document.abstract),
        "sections": [
            {
                "title": printable(section.title),
                "blocks": [_block(block, figures) for block in section.blocks],
            }
            for section in document.sections
        ],
        "provenance": _cells(document.provenance),
    }


def _block(block: Block, figures: Mapping[str, str]) -> Json:
    match block:
        case Paragraph():
            return {"kind": "paragraph", "text": _text(block.text)}
        case FigureBlock():
            return {**_float("figure", block), "svg": figures[block.key]}
        case TableBlock():
            header, *rows = _cells((block.header, *block.rows))
            return {**_float("table", block), "header": header, "rows": rows}


def _float(kind: str, block: FigureBlock | TableBlock) -> Json:
    return {
        "kind": kind,
        "key": block.key,
        "caption": _text(block.caption),
        "wide": block.wide,
    }


def _cells(rows: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    return [[printable(cell) for cell in row] for row in rows]


def _text(text: Text) -> list[dict[str, str]]:
    return [_part(part) for part in text]


def _part(part: str | Ref | Code) -> dict[str, str]:
    match part:
        case Ref():
            return {"kind": "ref", "text": part.key}
        case Code():
            return {"kind": "code", "text": printable(part.text)}
        case str():
            return {"kind": "text", "text": printable(part)}
