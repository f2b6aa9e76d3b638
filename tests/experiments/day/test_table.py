"""The page of a card's day: what was predicted beside what was measured, on 80 columns."""

from dataclasses import replace

from experiments.day.day import CONFIGURATIONS
from experiments.day.parts import Outcome
from experiments.day.table import Row, table_text

SETTING = "OPT, hidden 4096, 3 blocks, 811 million weights in bf16, 1x2048 tokens, zo2, pageable"
ROW = Row(name="resident", setting=SETTING, predicted_s=0.0202, low_s=0.0181, high_s=0.0247)


def test_columns_are_as_wide_as_what_they_hold():
    measured = replace(ROW, name="large", measured_s=0.0404)
    assert table_text([ROW, measured]).splitlines()[:4] == [
        "configuration  predicted           90 % band  measured    error  in it",
        "resident         20.2 ms  18.1 ms to 24.7 ms         \u2013        \u2013",
        "large            20.2 ms  18.1 ms to 24.7 ms   40.4 ms  \u221250.0 %     no",
        "",
    ]


def test_it_fits_a_terminal_with_every_configuration():
    rows = [replace(ROW, name=name, low_s=0.999, measured_s=0.2) for name in CONFIGURATIONS]
    lines = table_text(rows).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-2:] == [
        "large: OPT, hidden 4096, 3 blocks, 811 million weights in bf16, 1x2048 tokens,",
        "  zo2, pageable",
    ]


def test_parts_stand_below_each_other():
    parts = [f"run: {name}" for name in CONFIGURATIONS] + ["links"]
    lines = [Outcome(part=part, status="done", why="x", seconds=9.9).line for part in parts]
    assert len({line.index("done") for line in lines}) == 1
