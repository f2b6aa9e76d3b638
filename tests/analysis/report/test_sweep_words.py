"""What the sweep's report says of a comparison, in words and tables."""

from analysis.report.document import TableBlock
from analysis.report.wording import setting
from tests.analysis.report.test_report import report, words


def test_throughput_is_compared_with_as_many_microbatches_and_with_what_was_published():
    caption = next(b.caption for b in report().numbered if b.key == "throughput")
    assert "relative to MeZO on the same device with as many microbatches" in caption
    shown = words(report())
    assert "ZO2 (8 microbatches) 1.05." in shown
    assert "from 6.7B on, \u221254.5 % is predicted for it here" in shown


def test_tokens_that_hide_the_copies_are_those_that_were_found():
    (table,) = (b for b in report().numbered if b.key == "tokens-needed")
    assert isinstance(table, TableBlock)
    assert table.header == ("link", "GB/s", "90\u00a0%", "99\u00a0%")
    assert table.rows[0] == ("PCIe 3", "25.5", "6\u202f144", "\u2013")
    assert "from 4 096 tokens per step on" in words(report())


def test_what_is_on_or_off_is_said_so():
    assert [setting(value) for value in (True, False, 2, "ring")] == ["yes", "no", "2", "ring"]
