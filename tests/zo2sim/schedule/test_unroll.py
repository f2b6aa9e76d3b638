"""Unrolling: edges resolve within a period and to the one before; streams carry on."""

import pytest

from tests.zo2sim.schedule.handmade import program, schedule
from zo2sim.schedule.unroll import Unrolled, chain, unroll

UPLOADS = """
    H0 h2d writes slot:0 after D0^
    F0 compute reads slot:0 after H0
    D0 d2h reads slot:0 after F0
"""


def text(unrolled: tuple[Unrolled, ...]) -> list[str]:
    """``F0'1<2,3``: operation and period, then the indices that it waits for."""
    return [f"{u.name}'{u.period}<{','.join(map(str, u.deps))}" for u in unrolled]


def test_edges_to_the_previous_period_vanish_in_the_first():
    assert text(unroll(schedule(UPLOADS))) == ["H0'0<", "F0'0<0", "D0'0<1"]


def test_later_periods_wait_for_their_stream_first_and_then_for_their_edges():
    assert text(unroll(schedule(UPLOADS), periods=2))[3:] == ["H0'1<0,2", "F0'1<1,3", "D0'1<2,4"]


def test_a_program_starts_with_its_prologue():
    short = program(UPLOADS, prologue="H0 h2d writes slot:0")
    assert text(unroll(short, periods=2)) == ["H0'0<", "H0'1<0", "F0'1<1", "D0'1<2"]


def test_an_edge_to_an_operation_that_the_previous_period_lacks_vanishes():
    assert unroll(program(UPLOADS, prologue=""), periods=2)[0].deps == ()


def test_an_edge_reaches_one_period_back_and_not_two():
    thrice = unroll(
        schedule("F0 compute writes slot:0", "D0 d2h reads slot:0 after F0^"), periods=3
    )
    assert text(thrice)[4:] == ["F0'2<2", "D0'2<3,2"]


def test_positions_count_on_a_stream_and_steps_from_the_start():
    two_steps = schedule("H0 h2d", "F0 compute", "F0@1 compute", steps=2)
    unrolled = unroll(two_steps, periods=2)
    assert [(u.name, u.step, u.position, u.track_prev) for u in unrolled] == [
        ("H0", 0, 0, None),
        ("F0", 0, 0, None),
        ("F0@1", 1, 1, 1),
        ("H0", 2, 1, 0),
        ("F0", 2, 2, 2),
        ("F0@1", 3, 3, 4),
    ]


def test_an_edge_along_the_stream_is_not_counted_twice():
    assert unroll(schedule("F0 compute", "F1 compute after F0"))[1].deps == (0,)


def test_schedules_in_a_row_keep_counting_steps_and_periods():
    row = chain((schedule("F0 compute reads slot:0", steps=2), schedule("F1 compute reads slot:0")))
    assert [(u.name, u.period, u.step) for u in row] == [("F0", 0, 0), ("F1", 1, 2)]


def test_no_period_is_refused():
    with pytest.raises(ValueError, match=r"^periods must be >= 1; got 0$"):
        unroll(schedule(UPLOADS), periods=0)
