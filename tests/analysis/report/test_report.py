"""Reports: any text is shown as it is, numbers come from the table, same input, same bytes."""

import re
from functools import cache
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.plots.style import svg_text
from analysis.plots.sweep.figures import sweep_figures
from analysis.report.document import (
    Code,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
    printable,
)
from analysis.report.html import html_text
from analysis.report.pdf import page_pngs, pdf_bytes
from analysis.report.sweep.document import sweep_document
from analysis.report.sweep.findings import binding_counts, largest_model, memory_errors
from analysis.report.sweep.framing import kernel_section
from analysis.report.wording import between, gib, listed, number, seconds, signed_percent
from analysis.table import of_question
from tests.machines import costs, rates
from tests.sweep_table import GIB, kernels, memory_rows, needed, published, row, sweep_table
from tests.thorough import examples
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Trace

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><g id="a"/></svg>'
BROKEN = "\x00\x1b\ud800x\udc00\ufffe"
NASTY = "#let x = $1$ *b* _i_ @ref <b>&amp; \\ \"q\" 'a' `raw` // no /* no */ [c] {d} ~ = - é 漢 🎈"


@cache
def trace() -> Trace:
    program = build(Shape(num_blocks=6), Plan(), Recipe())
    return simulate(program, costs(h2d=3, forward=4, d2h=2), rates(), periods=2)


@cache
def pictures() -> dict[str, str]:
    figures = sweep_figures(sweep_table(), published(), trace=trace())
    return {key: svg_text(figure) for key, figure in figures.items()}


def report(table: pd.DataFrame | None = None) -> Document:
    return sweep_document(
        sweep_table() if table is None else table,
        published(),
        trace=trace() if table is None else None,
        summary={"configurations": "85"},
        provenance={"commit": "0123abc", "command": "python -m experiments.sweep"},
        beside={"kernels": kernels(), **({"needed": needed()} if table is None else {})},
    )


def words(document: Document) -> str:
    """Running text with references in square brackets."""
    texts = [document.abstract]
    texts += [b.text for b in document.blocks if isinstance(b, Paragraph)]
    parts = (part for text in texts for part in text)
    flat = "".join(part if isinstance(part, str) else f"[{part}]" for part in parts)
    return flat.replace("\u00a0", " ").replace("\u202f", " ")


def document_of(text: str) -> Document:
    """The same text everywhere that text can stand."""
    return Document(
        title=text,
        abstract=(text, Code(text), Ref("one")),
        sections=(
            Section(
                text,
                (
                    Paragraph(text, Ref("two"), text),
                    FigureBlock(key="one", caption=text),
                    TableBlock(key="two", caption=text, header=(text,), rows=((text,),)),
                ),
            ),
        ),
        provenance=((text, text),),
    )


class _Page(HTMLParser):
    """Visible text and the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def page(text: str) -> _Page:
    parser = _Page()
    parser.feed(text)
    parser.close()
    return parser


def test_pdf_and_html_are_the_same_bytes_again():
    first, second = (pdf_bytes(document_of("x"), {"one": SQUARE}) for _ in range(2))
    assert first == second
    assert html_text(report(), pictures()) == html_text(report(), pictures())


def test_pdf_bears_no_date_but_the_epoch():
    dates = re.findall(rb"Date ?\(D:(\d{4})", pdf_bytes(document_of("x"), {"one": SQUARE}))
    assert set(dates) <= {b"1970"}


def test_html_needs_nothing_else():
    text = html_text(report(), pictures())
    assert re.findall("<script.*?>", text) == ["<script>"]
    assert "<link" not in text
    assert "@import" not in text
    assert not re.search(r'\bsrc="(?!data:image/svg)|href="(?!#|data:)', text)
    assert "url(" not in re.sub(r"url\(#", "", text)


def test_names_inside_the_pictures_are_unique():
    names = re.findall(r'\bid="([^"]+)"', html_text(report(), pictures()))
    assert len(names) == len(set(names))


def test_every_link_of_the_page_has_a_target():
    text = html_text(report(), pictures())
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'\bid="([^"]+)"', text))


@settings(max_examples=examples(40), deadline=None)
@example(BROKEN)
@given(st.text(st.one_of(st.sampled_from(NASTY), st.characters()), max_size=30))
def test_no_text_breaks_the_page(text: str):
    shown = page(html_text(document_of(text), {"one": SQUARE}))
    plain = page(html_text(document_of("x"), {"one": SQUARE}))
    assert shown.tags == plain.tags


@settings(max_examples=examples(40), deadline=None)
@example(BROKEN)
@given(st.text(st.one_of(st.sampled_from(NASTY), st.characters()), max_size=30))
def test_no_text_breaks_the_pdf(text: str):
    assert pdf_bytes(document_of(text), {"one": SQUARE}).startswith(b"%PDF")


def test_text_is_shown_as_it_is():
    """Title twice, abstract twice, heading, paragraph twice, captions, cells, provenance twice."""
    shown = "".join(page(html_text(document_of(NASTY), {"one": SQUARE})).shown)
    assert shown.count(NASTY) == 13


def test_controls_and_half_characters_are_replaced():
    assert printable("a\x00b\ud800c\td\n") == "a\ufffdb\ufffdc\td\n"


def test_pages_can_be_looked_at():
    pages = page_pngs(report(), pictures(), ppi=20)
    assert len(pages) >= 2
    assert all(png.startswith(b"\x89PNG") for png in pages)


def test_figures_and_tables_are_numbered_apart_and_in_order():
    assert report().names == {
        "summary": "Table 1",
        "memory": "Figure 1",
        "memory-errors": "Table 2",
        "throughput": "Figure 2",
        "bounds": "Table 3",
        "timeline": "Figure 3",
        "ablation": "Figure 4",
        "break-even": "Figure 5",
        "tokens-needed": "Table 4",
        "both-ways": "Figure 6",
        "trust": "Table 5",
        "kernels": "Table 6",
    }


def test_every_figure_and_table_is_referred_to():
    document = report()
    shown = words(document)
    assert all(f"[Ref(key='{block.key}')]" in shown for block in document.numbered)


def test_html_says_what_a_reference_refers_to():
    assert '<a href="#two">Table 1</a>' in html_text(document_of("x"), {"one": SQUARE})


def test_a_figure_without_a_picture_is_named():
    for write in (pdf_bytes, html_text):
        with pytest.raises(ValueError, match="x: no picture was given for one"):
            write(document_of("x"), {})


def test_a_reference_without_a_target_is_refused():
    with pytest.raises(ValueError, match=r"must point at a figure or table.*got 'lost'"):
        Document(title="t", abstract=(Ref("lost"),), sections=())


def test_keys_are_unique_and_plain():
    one = FigureBlock(key="one", caption="c")
    with pytest.raises(ValueError, match="must be unique; twice: 'one'"):
        Document(title="t", abstract=(), sections=(Section("s", (one, one)),))
    bad = FigureBlock(key='"<', caption="c")
    with pytest.raises(ValueError, match="a key must match"):
        Document(title="t", abstract=(), sections=(Section("s", (bad,)),))


def test_a_ragged_table_is_refused():
    with pytest.raises(ValueError, match=r"table t: every row must have 2 cells.*row 1 has 1"):
        TableBlock(key="t", caption="", header=("a", "b"), rows=(("1", "2"), ("3",)))


def test_missing_questions_leave_their_sections_out():
    table = pd.DataFrame(memory_rows())
    document = sweep_document(table, published(), summary={}, provenance={})
    assert [section.title for section in document.sections] == [
        *("Method", "Memory", "How far to trust it", "Limits")
    ]
    pdf_bytes(document, pictures())


def test_all_sections_come_in_order():
    assert [section.title for section in report().sections] == [
        "Method",
        "Memory",
        "Throughput",
        "One step",
        "Ablation",
        "Break-even",
        "Both-ways traffic",
        "How far to trust it",
        "Kernel models",
        "Limits",
    ]


def test_headline_follows_the_table():
    table = pd.DataFrame(
        [
            row("memory", "MeZO", "opt-30b", device_bytes=60 * GIB),
            row("memory", "zo2", "opt-30b", device_bytes=7 * GIB, host_bytes=56 * GIB),
            row("throughput", "MeZO", "opt-30b", tokens_per_s=100.0),
            row("throughput", "zo2", "opt-30b", tokens_per_s=93.0),
        ]
    )
    shown = words(report(table))
    assert "For OPT-30B, ZO2 needs 7.00 GiB of device memory, where MeZO would need 60.0" in shown
    assert "ZO2 then keeps 56.0 GiB in host memory" in shown
    assert "ZO2 reaches 0.930 times MeZO's predicted throughput." in shown


def test_a_variant_of_a_model_is_named_once():
    table = pd.DataFrame([row("memory", "zo2", "opt-30b") | {"model": "opt-30b:untied"}])
    document = report(table)
    assert "For OPT-30B, ZO2 needs" in words(document)
    assert "Variant of the models: untied." in document.numbered[1].caption


def test_a_rarer_write_back_is_weighed_per_link():
    shown = words(report())
    assert "Link as fast as one way: a step takes 14.0 s at k = 1, and no other k helps." in shown
    assert "measured both ways: a step takes 28.0 s at k = 1 and 14.9 s at k = 16, 46.9 %" in shown


def test_memory_errors_are_those_of_predicted_rows():
    table = pd.DataFrame(
        [
            row("memory", "zo2_reference", "opt-6.7b", device_bytes=4.99 * 1.1 * GIB),
            row("memory", "MeZO", "opt-6.7b", device_bytes=16.0 * 0.8 * GIB),
        ]
    )
    errors = memory_errors(table, published())
    assert errors is not None
    assert (errors.count, errors.worst_model) == (2, "opt-6.7b")
    assert (errors.median, errors.worst) == pytest.approx((0.15, 0.2))


def test_error_table_shows_both_sides():
    (table,) = (b for b in report().numbered if b.key == "memory-errors")
    assert isinstance(table, TableBlock)
    assert len(table.rows) == 8
    mezo = next(r for r in table.rows if r[0] == "OPT-6.7B, MeZO")
    assert mezo[1:3] == ("16.0", "14.5")


def test_without_predictions_there_are_no_errors():
    assert memory_errors(sweep_table(), published().iloc[:0]) is None
    assert largest_model(of_question(sweep_table(), "ablation")) is None


def test_binding_resources_are_counted():
    assert binding_counts(of_question(sweep_table(), "throughput")) == {
        "compute": 20,
        "link_both_ways": 4,
    }


def test_kernel_errors_are_percent_and_counts_are_whole():
    section = kernel_section(kernels())
    assert section is not None
    table = section.blocks[1]
    assert isinstance(table, TableBlock)
    assert table.header == ("kernel", "gpu", "rows", "median error", "p90 error")
    assert table.rows[0] == ("gemm", "a100", "120", "3.1\u00a0%", "9.4\u00a0%")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0, "0"), (0.0123, "0.0123"), (1.234, "1.23"), (123.4, "123"), (12345, "12\u202f345")),
        *((99.96, "100"), (-2.5, "-2.50"), (float("nan"), "\u2013")),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str):
    assert number(value) == shown


def test_units_stay_with_their_numbers():
    assert (gib(GIB * 18), seconds(0.0125)) == ("18.0\u00a0GiB", "12.5\u00a0ms")
    assert (seconds(14), signed_percent(-0.042)) == ("14.0\u00a0s", "\u22124.2\u00a0%")


def test_a_deviation_of_nothing_has_no_sign():
    assert signed_percent(-0.0004) == signed_percent(0.0004) == "0.0\u00a0%"
    assert signed_percent(float("nan")) == "\u2013"


def test_ranges_and_lists():
    assert between([0.5, 0.25, float("nan")]) == "0.250 to 0.500"
    assert between([0.5001, 0.5002]) == "0.500"
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")


# Bands


def banded() -> pd.DataFrame:
    table = sweep_table()
    return table.assign(
        step_s_low=0.9 * table["step_s"],
        step_s_high=1.2 * table["step_s"],
        band_holds="scatter around kernel tables (2.8%)",
        band_lacks="link.h2d_bytes_per_s, link.latency_s, host.fsync_s, host.num_cores",
        hold_out_error="not validated on real runs",
        extrapolated="nothing",
        sources="7 datasheet",
    )


def test_bands_stand_beside_steps_and_say_what_they_hold():
    document = report(banded())
    tables = {b.key: b for b in document.blocks if isinstance(b, TableBlock)}
    bounds = tables["bounds"]
    assert bounds.header[:3] == ("model", "step", "90 % band")
    assert bounds.rows[0][2].replace("\u00a0", " ") == "154 to 206 ms"
    assert tables["trust"].header == ("what", "how far")
    assert [said.replace("\u00a0", " ") for _, said in tables["trust"].rows] == [
        "30.0 % wide",
        "scatter around kernel tables (2.8%)",
        "link.h2d_bytes_per_s, link.latency_s, host.fsync_s and 1 more",
        "not validated on real runs",
        "0 of 89 predictions, in part or in full",
        "7 datasheet",
    ]
    assert "Bands of the step are 30.0 % wide." in words(document)


def test_without_bands_nothing_is_said_of_them():
    document = report()
    trust = next(b for b in document.blocks if isinstance(b, TableBlock) and b.key == "trust")
    assert [said for _, said in trust.rows] == 6 * ["\u2013"]
    bounds = next(b for b in document.blocks if isinstance(b, TableBlock) and b.key == "bounds")
    assert "90 % band" not in bounds.header
