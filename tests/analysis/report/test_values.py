"""Values on hover: what the marks of a figure stand for, on a page that shows it."""

import json
from dataclasses import asdict

from analysis.plots.values import Value, read_values
from analysis.report.html import html_text
from tests.analysis.report.test_report import SQUARE, document_of, pictures, report

VALUE = Value(left=0.1, top=0.2, width=0.1, height=0.1, text="a: 1")


def test_what_a_mark_stands_for_is_shown_as_text_where_the_mark_is():
    found = read_values(pictures()["both-ways"])
    assert "measured both ways: 28 at 1" in {value.text for value in found}
    for value in found:
        assert 0.0 < value.left < value.left + value.width < 1.0
        assert 0.0 < value.top < value.top + value.height < 1.0
    page = html_text(report(), pictures())
    assert 'title="measured both ways: 28 at 1"></i>' in page
    assert 'title="upload: ' in page


def test_a_bar_is_called_by_its_model_and_its_row():
    found = [value.text for value in read_values(pictures()["ablation"])]
    assert "OPT-30B, no overlap: 2.3" in found
    assert "OPT-6.7B, 1 slot: 1.9" in found


def test_marks_that_lie_on_each_other_share_a_field():
    found = [value.text for value in read_values(pictures()["throughput"])]
    together = next(text for text in found if text.startswith("MeZO (resident): 1 at 1.3"))
    assert "ZO2, published: 1 at 1.3" in together.split("\n")


def test_values_of_a_strange_picture_are_text_or_nothing():
    hostile = json.dumps([{**asdict(VALUE), "text": '"><script>x()</script>'}])
    for data in (hostile, "[", "[1]", '[{"left": "a"}]', "{}"):
        picture = f'{SQUARE[:-6]}<metadata id="zo2sim-values">{data}</metadata></svg>'
        page = html_text(document_of("x"), {"one": picture})
        assert "<script>x" not in page
