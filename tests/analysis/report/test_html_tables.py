"""Tables of the HTML report in a browser: what there is room for is not cut."""

from pathlib import Path
from typing import Any

import pytest

from analysis.report.document import Document, Section, TableBlock
from analysis.report.html import html_text
from tests.browser import opened, started

NAMES = ("zo2-allocated-memory-fp16", "fp16 opt-175b (ZO2/MeZO)", "agrees, which needs no fit")
ROW = (*NAMES, *("1,234 ms",) * 4)
CUT = """() => [...document.querySelectorAll(".scroll")]
  .map((box) => box.scrollWidth > box.clientWidth)"""


def page(folder: Path) -> Path:
    """With a table that has more columns than the text is wide."""
    table = TableBlock(key="t", caption="c", header=("head",) * len(ROW), rows=(ROW,), wide=True)
    sections = (Section("One", (table,)),)
    document = Document(title="t", abstract=("a",), sections=sections, provenance=())
    path = folder / "page.html"
    path.write_text(html_text(document, {}, {}), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "cut"), [(1280, False), (400, True)])
def test_a_wide_table_takes_the_margin_and_the_page_never_scrolls(
    tmp_path: Path, width: int, cut: bool
):
    room: dict[str, Any] = {"viewport": {"width": width, "height": 800}}
    with started() as browser, opened(browser, page(tmp_path), **room) as tab:
        assert tab.evaluate(CUT) == [cut]
        assert tab.evaluate("document.documentElement.scrollWidth") == width
