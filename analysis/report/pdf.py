"""A document as a PDF, set by Typst.

The template is a Typst program that receives the document as JSON. No text is pasted into source
code, so no text can break it. Only the fonts inside Typst are used: every machine sets the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import typst

from analysis.report.document import Document, TableBlock, check_figures
from analysis.report.document_file import fields

_TEMPLATE = Path(__file__).parent / "templates" / "report.typ"


def pdf_bytes(document: Document, figures: Mapping[str, str]) -> bytes:
    """The PDF; the same input gives the same bytes.

    ``figures`` holds SVG text by key. Raises ``ValueError`` when a figure has no picture, or
    one that is not to be drawn.
    """
    inputs = _inputs(document, figures)
    try:
        return _pdf(inputs, tagged=True)
    except typst.TypstError as error:
        if "internal error" not in str(error):
            raise ValueError(f"{document.title}: its PDF must be set; {error}") from None
        return _pdf(inputs, tagged=False)  # Typst 0.15 cannot tag every document


def _pdf(inputs: dict[str, str], *, tagged: bool) -> bytes:
    result = _compiler().compile(format="pdf", sys_inputs=inputs, timestamp=0, pdf_tags=tagged)
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
    tables = (block for block in document.blocks if isinstance(block, TableBlock))
    shown = {
        **fields(document),
        "pictures": {key: figures[key] for key in document.figure_keys},
        "kinds": {table.key: table.kinds for table in tables},
        "assembled": document.is_assembled,
    }
    return {"document": json.dumps(shown)}
