"""The report of a validation: promises, rows and reasons, from scores of integers."""

from dataclasses import replace

import pytest

from analysis.report.commands.validation import Findings, drawn, validation_document
from analysis.report.document import TableBlock
from analysis.report.html import html_text
from analysis.report.pdf import page_pngs
from analysis.report.trust import TOPICS
from analysis.validation.op_errors import OpError
from analysis.validation.promise import promises
from analysis.validation.scores import Scores
from tests.analysis.validation.test_scores import comparison
from zo2sim.predict.drift import Drift
from zo2sim.schedule.ops import Kind

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><g id="a"/></svg>'
SCORES = Scores(
    comparisons=(
        comparison(name="good", predicted_s=101.0, replayed_s=100.5),
        comparison(name="bad", predicted_s=130.0, replayed_s=100.5),
        comparison(name="fair", predicted_s=95.0, replayed_s=100.5),
    )
)
OPERATION = OpError(
    configuration="bad",
    op="F0 and 3 alike",
    kind=Kind.FORWARD,
    per_step=4.0,
    predicted_s=3.0,
    measured_s=2.0,
    constant="cpu.gemm_flops_per_s",
    low_s=3.0,
    high_s=3.0,
)
FINDINGS = Findings(
    scores=SCORES,
    operations=(OPERATION,),
    settings={name: {"noise": name[0], "policy": "zo2"} for name in ("good", "bad", "fair")},
    grounds=dict.fromkeys(TOPICS, "as assumed"),
    remarks=("bad: compute: F1 of step 2 was expected, F0 of step 2 ran in its place.",),
    has_residuals=True,
    extra={"memory": {"bad": "12 MiB"}},
)


def table(key: str) -> TableBlock:
    blocks = validation_document(FINDINGS, provenance={}).blocks
    return next(b for b in blocks if isinstance(b, TableBlock) and b.key == key)


def plain(rows: tuple[tuple[str, ...], ...]) -> list[str]:
    return [" | ".join(row).replace("\u00a0", " ").replace("\u2212", "-") for row in rows]


def test_a_machine_that_changed_is_in_the_report():
    def text(drift: float) -> str:
        found = replace(FINDINGS, scores=Scores(comparisons=(comparison(drift=drift),)))
        return str(validation_document(found, provenance={}))

    assert "another calibration" in text(0.2)
    assert "another calibration" not in text(0.02)
    assert "two reference configurations" in text(0.02)


def test_runs_without_references_are_not_said_to_have_had_some():
    """On a card nothing runs beside a configuration, and no drift is told."""
    alone = comparison(drift=0.0, machine_drift=Drift())
    found = replace(FINDINGS, scores=Scores(comparisons=(alone,)))
    assert "reference configurations" not in str(validation_document(found, provenance={}))


def test_the_worst_the_median_and_the_best_are_drawn():
    assert [c.name for c in drawn(SCORES).values()] == ["bad", "fair", "good"]
    one = Scores(comparisons=(comparison(),))
    assert [c.name for c in drawn(one).values()] == ["one"] * 3


def test_every_configuration_has_a_row_with_more_columns_if_there_are_any():
    errors = table("errors")
    assert errors.header[-1] == "memory"
    assert plain(errors.rows) == [
        "good | 101 s | 100 s | +1.0 % | 95.0 to 125 s | yes | +0.5 % | 1.0 % | ",
        "bad | 130 s | 100 s | +30.0 % | 95.0 to 125 s | yes | +0.5 % | 1.0 % | 12 MiB",
        "fair | 95.0 s | 100 s | -5.0 % | 95.0 to 125 s | yes | +0.5 % | 1.0 % | ",
    ]


def test_only_settings_that_vary_sort_the_errors():
    assert plain(table("by-setting").rows) == [
        "noise: g | 1 | +1.0 % | 1.0 %",
        "noise: b | 1 | +30.0 % | 30.0 %",
        "noise: f | 1 | -5.0 % | 5.0 %",
    ]


def test_operations_say_what_they_add_and_what_they_rest_on():
    assert plain(table("operations").rows) == [
        "F0 and 3 alike | bad | 3.00 s | 2.00 s | +4.00 s | cpu.gemm_flops_per_s"
    ]


def test_promises_are_kept_or_not():
    assert {p.name: p.kept for p in promises(SCORES)} == {
        "mape": False,
        "max_ape": False,
        "mpe": False,
        "rules_mape": True,
        "coverage_90": True,
        "band_width": False,
    }
    assert (
        next(promises(SCORES)).sentence
        == "mean absolute error: must be at most 3.00%; it is 12.00%"
    )


def test_an_error_may_exceed_its_limit_by_what_the_measurement_scatters_by():
    noisy = comparison(standard_error=0.07, predicted_s=105.0)
    steady = comparison(standard_error=0.0, predicted_s=105.0)
    kept = [{p.name: p.kept for p in promises(Scores(comparisons=(c,)))} for c in (noisy, steady)]
    assert [(one["mape"], one["mpe"]) for one in kept] == [(True, True), (False, False)]


def test_one_turn_tells_nothing_of_how_far_others_are():
    def abstract(standard_error: float) -> str:
        scores = Scores(comparisons=(comparison(standard_error=standard_error),) * 3)
        return "".join(
            map(str, validation_document(replace(FINDINGS, scores=scores), provenance={}).abstract)
        )

    assert "; measurements repeat within 7.0" in abstract(0.07)
    assert "repeat" not in abstract(float("nan"))


def test_coverage_must_not_be_too_low():
    out = Scores(comparisons=(comparison(low_s=105.0),) * 24)
    (coverage,) = (p for p in promises(out) if p.name == "coverage_90")
    assert coverage.sentence == "measurements in their 90 % band: must lie in 75% to 100%; it is 0%"


@pytest.mark.parametrize("has_residuals", [True, False])
def test_it_is_typeset(has_residuals: bool):
    three = tuple(replace(OPERATION, configuration=name) for name in ("good", "bad", "fair"))
    found = replace(FINDINGS, operations=three, has_residuals=has_residuals)
    document = validation_document(found, provenance={})
    keys = ("validation", "timelines-worst", "timelines-median", "timelines-best", "residuals")
    assert document.figure_keys == keys[: 5 if has_residuals else 4]
    pictures: dict[str, str] = dict.fromkeys(document.figure_keys, SQUARE)
    page = html_text(document, pictures)
    assert "F1 of step 2 was expected" in page
    blamed = "FORWARD is predicted 1.5x too long in the median of 3 configurations"
    assert f"cpu.gemm_flops_per_s: {blamed}" in page
    assert len(page_pngs(document, pictures, ppi=20)) >= 1
