"""Typeset pages as pictures: nothing is hidden, cut off, or set behind what follows it."""

from io import BytesIO

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.report.document import Document, FigureBlock, Paragraph, Section
from analysis.report.pdf import page_pngs
from tests.analysis.report.emptiness import shares

PPI = 20
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
COLUMN_IN, PAGE_IN = 3.3, 6.9
WORDS = "A policy generates the schedule of a step as data, with the edges that it demands. "
PROVENANCE = (("commit", "0123abc"), ("command", "python -m experiments.sweep"))


def rectangle(colour: str, *, width_in: float, height_in: float) -> str:
    """A picture that is one rectangle."""
    size = f'width="{72 * width_in}pt" height="{72 * height_in}pt"'
    rect = f'<rect width="100%" height="100%" fill="{colour}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{rect}</svg>'


def figure(key: str, *, wide: bool) -> FigureBlock:
    return FigureBlock(key=key, caption=f"Caption of {key}.", wide=wide)


def text(*, times: int) -> Paragraph:
    return Paragraph(times * WORDS)


def document(*sections: Section, provenance: tuple[tuple[str, str], ...] = PROVENANCE) -> Document:
    return Document(title="t", abstract=("a",), sections=sections, provenance=provenance)


def area(pages: list[bytes], colour: tuple[float, float, float]) -> float:
    """Square inches of a colour on all pages."""
    shown = [np.abs(picture(page)[..., :3] - colour).max(axis=-1) < 0.2 for page in pages]
    return sum(float(one.sum()) for one in shown) / PPI**2


def picture(page: bytes) -> NDArray[np.float32]:
    return matplotlib.image.imread(BytesIO(page))


def test_a_figure_keeps_off_what_stands_across_the_page(monkeypatch: pytest.MonkeyPatch):
    """Together they are higher than a page, so the one in the column must go to the next."""
    monkeypatch.setattr(Document, "is_short", False)
    blocks = (text(times=6), figure("one", wide=False), figure("two", wide=True), text(times=30))
    pictures = {
        "one": rectangle("red", width_in=COLUMN_IN, height_in=5.5),
        "two": rectangle("blue", width_in=PAGE_IN, height_in=4.5),
    }
    pages = page_pngs(document(Section("s", blocks)), pictures, ppi=PPI)
    assert area(pages, RED) > 0.93 * COLUMN_IN * 5.5
    assert area(pages, BLUE) > 0.93 * PAGE_IN * 4.5


def test_figures_come_before_provenance():
    """The pages before the last one are what they are without it."""
    blocks = (text(times=3), *(figure(key, wide=True) for key in ("one", "two", "three")))
    square = rectangle("red", width_in=PAGE_IN, height_in=5.0)
    pictures: dict[str, str] = dict.fromkeys(("one", "two", "three"), square)
    told, untold = (
        page_pngs(document(Section("s", blocks), provenance=words), pictures, ppi=PPI)
        for words in (PROVENANCE, ())
    )
    assert len(told) == len(untold) == 3
    assert told[:-1] == untold[:-1]
    assert told[-1] != untold[-1]


def test_a_run_s_figures_come_before_the_next_run():
    floats = tuple(figure(key, wide=True) for key in ("one", "two", "three"))
    pictures: dict[str, str] = dict.fromkeys(
        ("one", "two", "three"), rectangle("red", width_in=PAGE_IN, height_in=5.0)
    )
    first = (Section("a", (text(times=1),)), Section("found", floats, 2))
    second = (Section("b", (text(times=2),)), Section("found", (text(times=2),), 2))
    alone = page_pngs(document(*first, provenance=()), pictures, ppi=PPI)
    both = page_pngs(document(*first, *second, provenance=()), pictures, ppi=PPI)
    assert both[: len(alone) - 1] == alone[:-1]
    assert len(both) == len(alone)


def test_a_picture_and_its_caption_stay_together():
    """However much text stands before them: no page begins with the caption alone."""
    pictures = {"one": rectangle("red", width_in=COLUMN_IN, height_in=3.0)}
    for times in range(24, 36, 2):
        blocks = (text(times=times), figure("one", wide=False))
        pages = page_pngs(document(Section("s", blocks), provenance=()), pictures, ppi=PPI)
        below = ink_below(picture(pages[-1] if len(pages) > 1 else pages[0]))
        assert below, times


def test_what_does_not_fit_a_page_leaves_no_hole_in_it():
    """In one column the text goes on, and the picture comes at the next page's top."""
    pictures: dict[str, str] = dict.fromkeys(
        ("one", "two"), rectangle("red", width_in=PAGE_IN, height_in=5.5)
    )
    blocks = (
        *(text(times=4), figure("one", wide=True)),
        *(text(times=4), figure("two", wide=True), text(times=40)),
    )
    found = shares(document(Section("s", blocks), provenance=()), pictures)
    assert len(found) > 1
    assert max(found[:-1]) < 0.25


def ink_below(page: NDArray[np.float32]) -> bool:
    """Some line of text stands right below the red rectangle of the page."""
    red = np.abs(page[..., :3] - RED).max(axis=-1) < 0.2
    rows, columns = np.nonzero(red)
    if not len(rows):
        return False
    part = page[rows.max() + 2 : rows.max() + PPI, columns.min() : columns.max(), :3]
    return bool((part.max(axis=-1) < 0.75).any())
