"""Tables on the screen: whole words at 80 columns, and one place that makes them."""

import re

import pytest
from rich.console import Console
from rich.table import Table

from experiments.screen import bar, headed, left, pairs, right, tracked
from tests import ROOT

LONG = "device.gaussian_noise_elements_per_s"


def lines(table: Table, *, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_words_are_set_left_and_numbers_right():
    table = headed("constant", *right("value"), title="fitted", gap=1)
    table.add_row("a", "1")
    table.add_row("b", "1000")
    assert lines(table) == ["fitted", " constant  value", " a             1", " b          1000"]


def test_what_is_too_wide_is_folded_and_what_is_whole_is_not():
    table = headed("constant", *right("change", whole=True), *left("plan"))
    table.add_row(LONG, "-0.152 %", "")
    shown = lines(table, width=40)
    assert "…" not in "".join(shown)
    assert "-0.152 %" in shown[1]
    assert "".join(line.split()[0] for line in shown[1:] if line.split()) == LONG


def test_pairs_have_no_heading():
    assert lines(pairs((("step", "1 s"), ("binds", "link")))) == ["step   1 s", "binds  link"]


def test_no_command_makes_a_headed_table_by_hand():
    sources = ROOT.joinpath("experiments").rglob("*.py")
    by_hand = [f.name for f in sources if re.search(r"\bTable\(", f.read_text())]
    assert by_hand == ["screen.py"]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "----"), (0.01, "#---"), (0.5, "##--"), (1.0, "####"), (7.0, "####")],
)
def test_a_bar_is_filled_by_a_share_and_what_is_used_at_all_is_seen(share: float, text: str):
    assert bar(share, 4, ascii_only=True) == text
    assert bar(share, 4) == text.replace("#", "\u2588").replace("-", "\u2591")


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]):
    assert list(tracked([1, 2], "things", total=2)) == [1, 2]
    assert capsys.readouterr() == ("", "")
