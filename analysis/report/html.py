"""A document as one HTML file that needs nothing else: no network and no other file."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from analysis.plots.values import read_values
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


def html_text(
    document: Document, figures: Mapping[str, str], links: Mapping[str, str] | None = None
) -> str:
    """The page; the same input gives the same text.

    Every text stands in it as text, every picture as an image, and its policy lets a browser fetch
    nothing and run only the script that sorts tables and zooms timelines, named by its digest.
    Values that a picture bears are shown on hover. ``figures`` holds SVG
    text by key, ``links`` the address of each file that the page offers, by its name. Raises
    ``ValueError`` when a figure has no picture.
    """
    check_figures(document, figures)
    pictures = {key: _image(figures[key]) for key in document.figure_keys}
    script = (_FOLDER / "report.js").read_text()
    return _template().render(
        document=document,
        names=document.names,
        pictures=pictures,
        values={key: read_values(figures[key]) for key in document.figure_keys},
        links=links or {},
        script=Markup(script),
        script_hash=Markup(_digest(script)),
    )


def _digest(script: str) -> str:
    """How a page's policy names a script that may run."""
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest())
    return f"sha256-{sha256.decode()}"


def _image(svg: str) -> str:
    """SVG text as the address of an image, in which nothing runs and nothing is fetched."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


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
