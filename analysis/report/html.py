"""A document as one HTML file that needs nothing else: no network, no script, no other file."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from analysis.report.document import (
    Block,
    Code,
    Document,
    File,
    Paragraph,
    Piece,
    Ref,
    TableBlock,
    check_figures,
    printable,
)

_FOLDER = Path(__file__).parent / "templates"
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_SIZE = re.compile(r'(<svg[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"')
_NAME = re.compile(r'(\bid="|url\(#|href="#)')


def html_text(
    document: Document, figures: Mapping[str, str], links: Mapping[str, str] | None = None
) -> str:
    """The page; the same input gives the same text.

    ``figures`` holds SVG text by key, ``links`` the address of each file that the page offers,
    by its name. Raises ``ValueError`` when a figure has no picture.
    """
    check_figures(document, figures)
    pictures = {key: Markup(inline_svg(figures[key], key)) for key in document.figure_keys}
    return _template().render(
        document=document, names=document.names, pictures=pictures, links=links or {}
    )


def inline_svg(svg: str, key: str) -> str:
    """SVG text that can stand in a page beside others: names made unique, width flexible."""
    bare = _PROLOGUE.sub("", svg, count=1)
    sized = _SIZE.sub(r'\1 style="max-width:\2pt"', bare, count=1)
    return _NAME.sub(rf"\g<1>{key}-", sized).strip()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters["kind"] = _kind  # pyright: ignore[reportUnknownMemberType]
    return environment.get_template("report.html.j2")


def _finalize(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def _kind(item: Block | Piece) -> str:
    match item:
        case str():
            return "text"
        case Ref():
            return "ref"
        case Code():
            return "code"
        case File():
            return "file"
        case Paragraph():
            return "paragraph"
        case TableBlock():
            return "table"
        case _:
            return "figure"
