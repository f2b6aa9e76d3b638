"""The learning curves, and the report around them."""

import numpy as np
import pandas as pd
import pytest

from analysis.plots.learning import learning, smoothed
from analysis.plots.style import svg_text
from analysis.report.commands.finetuning import finetuning_document

STEPS = pd.DataFrame({"step": range(80), "loss": [2.0 - n / 80 for n in range(80)]})
JUDGED = pd.DataFrame(
    {"step": [0, 40, 80], "held_out_loss": [2.0, 1.5, 1.1], "accuracy": [0.5, 0.7, 0.9]}
)
SUMMARY = {
    "model": "tiny",
    "task": "code-or-prose",
    "policy": "zo2",
    "backend": "host",
    "threads": 2,
    "steps": 80,
    "skipped_steps": 0,
    "training_loss_early": 1.9,
    "training_loss_late": 1.1,
    "held_out_loss_before": 2.0,
    "held_out_loss_after": 1.1,
    "accuracy_before": 0.5,
    "accuracy_after": 0.9,
    "tokens_per_s": 1000.0,
    "step_s": 0.1,
    "exposed_share": 0.02,
    "device_bytes": 2**20,
    "executed_as_scheduled": True,
    "divergence": None,
    "compared_with": "resident",
    "differs_in": [],
}


def test_a_moving_mean_looks_back():
    values = np.array([1.0, 3.0, np.nan, 5.0])
    assert smoothed(values, 1).tolist()[:2] == [1.0, 3.0]
    np.testing.assert_array_equal(smoothed(values, 2), [1.0, 2.0, 3.0, 5.0])
    np.testing.assert_array_equal(smoothed(values, 9), [1.0, 2.0, 2.0, 3.0])


def test_a_moving_mean_of_nothing_is_nothing():
    np.testing.assert_array_equal(smoothed(np.array([np.nan, np.nan]), 1), [np.nan, np.nan])


def test_curves_of_two_policies_are_in_one_figure():
    figure = learning(STEPS, JUDGED, label="zo2", reference=("resident", JUDGED), chance=0.5)
    loss, accuracy = figure.axes
    _, names = accuracy.get_legend_handles_labels()
    assert names == ["held out, ZO2", "held out, MeZO (resident)", "chance"]
    ours, theirs = accuracy.lines[0], accuracy.lines[1]
    assert np.array_equal(ours.get_xydata(), theirs.get_xydata())
    assert np.asarray(ours.get_ydata()).tolist() == [0.5, 0.7, 0.9]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "held-out accuracy")
    assert svg_text(figure) == svg_text(
        learning(STEPS, JUDGED, label="zo2", reference=("resident", JUDGED), chance=0.5)
    )


def test_without_accuracies_there_is_one_panel():
    judged = JUDGED.assign(accuracy=[None, None, None])
    assert len(learning(STEPS, judged, label="zo2").axes) == 1


def test_steps_without_a_loss_leave_a_gap():
    steps = STEPS.assign(loss=[None if n % 2 else 1.0 for n in range(80)])
    assert learning(steps, JUDGED, label="zo2").axes[0].get_ylim()[1] == pytest.approx(2.2)


def test_the_report_says_what_was_learned_and_compared():
    document = finetuning_document(
        SUMMARY, plan={"num_slots": 2}, recipe={"batch": 16}, provenance={}, has_timeline=True
    )
    (abstract,) = document.abstract
    assert "Held-out accuracy goes from 50.0" in str(abstract)
    assert "gave the same bits" in str(abstract)
    assert document.figure_keys == ("learning", "timeline")


def test_the_report_sets_the_prediction_beside_the_step():
    found = {
        "machine": "this-host",
        "threads": 1,
        "comparable": True,
        "step_s": 0.9 * SUMMARY["step_s"],
        "low_s": 0.8 * SUMMARY["step_s"],
        "high_s": 0.95 * SUMMARY["step_s"],
        "band_holds": "scatter",
        "band_lacks": "nothing",
        "hold_out_error": "not validated on real runs",
        "extrapolated": "9 blocks (calibrated: 2 to 8)",
        "sources": "7 fitted",
    }
    document = finetuning_document(
        SUMMARY | {"predicted": found}, plan={}, recipe={}, provenance={}, has_timeline=False
    )
    words = str(document).replace("\\xa0", " ").replace("\u2212", "-")
    assert "-10.0 % from what was measured, which lies outside the band" in words
    assert "9 blocks (calibrated: 2 to 8)" in words
    assert "not validated on real runs" in words
    other = SUMMARY | {"predicted": found | {"comparable": False}}
    document = finetuning_document(other, plan={}, recipe={}, provenance={}, has_timeline=False)
    words = str(document).replace("\\xa0", " ")
    assert "that is for 1 thread, and the run had 2, so the two are not comparable" in words
    assert "from what was measured" not in words


def test_the_report_says_what_rounding_swallowed():
    found = SUMMARY | {"swallowed_note": "rounding swallowed about 89% of the updates; try this"}
    how = {"plan": {}, "recipe": {}, "provenance": {}, "has_timeline": False}
    assert "Rounding swallowed about 89% of the updates; try this." in str(
        finetuning_document(found, **how)
    )
    for nothing in (SUMMARY, SUMMARY | {"swallowed_note": None}):
        assert "swallowed" not in str(finetuning_document(nothing, **how))


def test_the_report_says_what_differs():
    summary = SUMMARY | {"differs_in": ["weights"], "divergence": "F1 ran twice"}
    document = finetuning_document(
        summary | {"executed_as_scheduled": False},
        plan={},
        recipe={},
        provenance={},
        has_timeline=False,
    )
    words = str(document)
    assert "differs in: weights" in words
    assert "F1 ran twice" in words
