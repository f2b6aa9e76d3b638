"""The account against every published figure, and against figures it was not fitted to."""

from dataclasses import replace

import pytest

from analysis.fits.memory import ContextFit, Row, fit_context, published_rows
from zo2sim.memory.account import load_constants


@pytest.fixture(scope="module")
def found() -> ContextFit:
    return fit_context(published_rows())


def _worst(found: ContextFit, claim: str, errors: tuple[float, ...]) -> float:
    return max(abs(e) for row, e in zip(found.rows, errors, strict=True) if row.claim == claim)


def test_every_row_is_there(found: ContextFit):
    claims = [row.claim for row in found.rows]
    assert {c: claims.count(c) for c in sorted(set(claims))} == {
        "adamw-memory": 1,
        "mezo-memory-fp16": 3,
        "zo2-allocated-memory-fp16": 7,
        "zo2-nvml-memory": 7,
    }


def test_allocated_rows_agree_to_the_last_printed_digit_without_a_constant(found: ContextFit):
    rows = [r for r in found.rows if r.claim == "zo2-allocated-memory-fp16"]
    assert [round(r.predicted_bytes(0) / r.unit_bytes, 2) for r in rows] == [
        r.published for r in rows
    ]


@pytest.mark.parametrize(
    ("claim", "bound"),
    [("zo2-allocated-memory-fp16", 0.07), ("zo2-nvml-memory", 0.06), ("mezo-memory-fp16", 0.06)],
)
def test_errors_stay_within_what_is_promised(found: ContextFit, claim: str, bound: float):
    assert _worst(found, claim, found.errors) < bound
    assert _worst(found, claim, found.errors_gib) < bound
    assert _worst(found, claim, found.left_out_errors) < bound


def test_a_first_order_row_that_was_not_fitted_is_close(found: ContextFit):
    assert _worst(found, "adamw-memory", found.errors) < 0.03


def test_the_constant_on_file_is_the_refitted_one(found: ContextFit):
    assert load_constants().context_bytes == found.context_bytes
    assert found.low_bytes < found.context_bytes < found.high_bytes


def _row(model: str, base_bytes: int) -> Row:
    return Row(
        claim="c",
        model=model,
        published=base_bytes + 7,
        unit_bytes=1,
        base_bytes=base_bytes,
        has_context=True,
        fitted=True,
    )


def test_the_fit_finds_a_context_that_is_there():
    found = fit_context([_row("a", 10), _row("b", 100), _row("c", 1000)])
    assert found.context_bytes == found.low_bytes == found.high_bytes == 7
    assert found.left_out_errors == pytest.approx((0.0, 0.0, 0.0))


def test_a_row_left_out_does_not_vote_on_itself():
    odd = replace(_row("d", 100), base_bytes=57)
    rows = [_row("a", 100), _row("b", 100), _row("c", 100), odd]
    found = fit_context(rows)
    assert found.left_out_errors[3] == pytest.approx((57 + 7) / 107 - 1)
    assert abs(found.left_out_errors[3]) > abs(found.errors[3])


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="needs >= 3 fitted rows; got 2"):
        fit_context([_row("a", 1), _row("b", 2)])
