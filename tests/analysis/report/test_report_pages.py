"""Typeset pages as pictures: nothing is hidden, cut off, or set behind what follows it."""

from io import BytesIO

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from analysis.report.document import Document, FigureBlock, Paragraph, Section
from analysis.report.pdf import page_pngs
from tests.analysis.report.emptiness import shares

PPI = 20
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
GREEN, BLACK = (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)
TEXT_IN = 6.3
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


def test_figures_come_in_the_order_of_their_numbers():
    """Wherever the first one falls on its page, whatever is wide, on however many pages."""
    inks = {"one": RED, "two": BLUE, "three": GREEN, "four": BLACK}
    wide = {"one": False, "two": True, "three": False, "four": True}
    pictures = {
        key: rectangle(_hex(inks[key]), width_in=TEXT_IN if wide[key] else 3.3, height_in=height_in)
        for key, height_in in zip(inks, (3.0, 2.5, 4.5, 2.0), strict=True)
    }
    for times in (0, 12, 24, 36, 48):
        blocks = tuple(
            block for key in inks for block in (figure(key, wide=wide[key]), text(times=6))
        )
        told = document(Section("s", (text(times=times), *blocks)), provenance=())
        pages = page_pngs(told, pictures, ppi=PPI)
        assert sorted(inks, key=lambda key: _first(pages, inks[key])) == [*inks], times


def _hex(ink: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in ink)


def _first(pages: list[bytes], ink: tuple[float, float, float]) -> tuple[int, int]:
    """Page and line of the first wide stretch of a colour."""
    for number, page in enumerate(pages):
        shown = np.abs(picture(page)[..., :3] - ink).max(axis=-1) < 0.2
        lines = np.flatnonzero(shown.sum(axis=1) > 2 * PPI)
        if lines.size:
            return number, int(lines[0])
    raise AssertionError(f"a figure of colour {ink} is on no page")


def test_no_figure_comes_above_the_title():
    square = rectangle("red", width_in=TEXT_IN, height_in=3.0)
    blocks = (text(times=1), figure("one", wide=True), text(times=1))
    pages = page_pngs(document(Section("s", blocks)), {"one": square}, ppi=PPI)
    ink = picture(pages[0])[..., :3].min(axis=(1, 2)) < 0.9
    assert int(np.flatnonzero(ink)[0]) < _first(pages, RED)[1]


def test_no_sentence_is_split_by_a_page():
    """Every page in the middle holds whole paragraphs, of as many lines each."""
    told = document(Section("s", 60 * (text(times=6),)), provenance=())
    pages = page_pngs(told, {}, ppi=4 * PPI)
    alone = document(Section("s", (text(times=6),)), provenance=())
    above = _lines(page_pngs(document(Section("s", ()), provenance=()), {}, ppi=4 * PPI)[0])
    each = _lines(page_pngs(alone, {}, ppi=4 * PPI)[0]) - above
    found = [_lines(page) % each for page in pages[1:-1]]
    assert (each > 3, len(found) > 1, set(found)) == (True, True, {0})


def _lines(page: bytes) -> int:
    """Lines of text, without the page's number."""
    inked = picture(page)[: -round(0.8 * 4 * PPI), :, :3].min(axis=(1, 2)) < 0.7
    return int((np.diff(inked.astype(int)) == 1).sum())


def test_figures_come_before_provenance():
    """The pages before the last one are what they are without it."""
    blocks = (text(times=3), *(figure(key, wide=True) for key in ("one", "two", "three")))
    square = rectangle("red", width_in=TEXT_IN, height_in=5.0)
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
        ("one", "two", "three"), rectangle("red", width_in=TEXT_IN, height_in=5.0)
    )
    first = (Section("a", (text(times=1),)), Section("found", floats, 2))
    second = (Section("b", (text(times=2),)), Section("found", (text(times=2),), 2))
    alone = page_pngs(document(*first, provenance=()), pictures, ppi=PPI)
    both = page_pngs(document(*first, *second, provenance=()), pictures, ppi=PPI)
    assert both[: len(alone) - 1] == alone[:-1]
    assert len(both) == len(alone)


def test_a_picture_and_its_caption_stay_together():
    """However much text stands before them: no page begins with the caption alone."""
    pictures = {"one": rectangle("red", width_in=3.3, height_in=3.0)}
    for times in range(24, 36, 2):
        blocks = (text(times=times), figure("one", wide=False))
        pages = page_pngs(document(Section("s", blocks), provenance=()), pictures, ppi=PPI)
        below = ink_below(picture(pages[-1] if len(pages) > 1 else pages[0]))
        assert below, times


def test_what_does_not_fit_a_page_leaves_no_hole_in_it():
    """In one column the text goes on, and the picture comes at the next page's top."""
    pictures: dict[str, str] = dict.fromkeys(
        ("one", "two"), rectangle("red", width_in=TEXT_IN, height_in=5.5)
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
