"""The preset ``one-to-eight``: what it asks, and that words and figure follow the answers."""

from functools import cache
from typing import Any

import pandas as pd

from analysis.plots.sweep.figures import sweep_figures
from analysis.plots.sweep.one_to_eight import answers_cards, scalings
from analysis.report.document import Document, TableBlock
from analysis.report.sweep.document import sweep_document
from analysis.report.sweep.one_to_eight import TITLE
from analysis.report.wording import DASH
from experiments.jobs.job import Job
from experiments.jobs.one_to_eight import NODES, one_to_eight
from experiments.jobs.tables import wide, wide_row
from tests.analysis.report.test_report import words
from tests.sweep_table import published


@cache
def jobs() -> tuple[Job, ...]:
    return tuple(one_to_eight())


def answer(job: Job) -> dict[str, Any]:
    """Made up: a ring is as many times as fast as cards, whole no faster, sliced half as fast."""
    devices = job.spec.plan.devices
    alone_s = 8.0 * job.spec.recipe.microbatches
    step_s = {"ring": alone_s / devices, "whole": alone_s, "sliced": 2 * alone_s}
    own_s = alone_s if devices == 1 else step_s[job.spec.plan.placement]
    return {"step_s": own_s, "tokens_per_s": 1.0, "lower_bound_s": own_s, "fits": 1.0}


@cache
def table() -> pd.DataFrame:
    return wide([wide_row(job, answer(job)) for job in jobs()])


@cache
def document() -> Document:
    return sweep_document(table(), published(), summary={}, provenance={})


def test_every_computer_is_asked_about_alone_and_in_every_placement():
    asked = {(j.spec.machine, j.spec.plan.devices, j.label) for j in jobs()}
    for machine in NODES:
        assert (machine, 1, "one card") in asked
        assert {label for m, n, label in asked if (m, n) == (machine, 8)} == {
            *("ring", "whole", "sliced")
        }


def test_equal_microbatches_stand_side_by_side():
    """A step of one sequence has two lanes, which four cards cannot take."""
    of_one = {(j.label, j.spec.plan.devices) for j in jobs() if j.spec.recipe.microbatches == 1}
    assert ("whole", 2) in of_one
    assert ("whole", 4) not in of_one
    assert ("ring", 8) in of_one


def test_a_ring_has_as_many_groups_of_lanes_as_keep_its_cards_busy():
    groups = {
        (j.spec.plan.devices, j.spec.recipe.microbatches): j.spec.plan.lane_groups
        for j in jobs()
        if j.label == "ring"
    }
    assert (groups[8, 8], groups[8, 1], groups[2, 8]) == (4, 1, 1)


def test_speed_is_compared_with_one_card():
    found = {(s.machine, s.microbatches, s.placement): s for s in scalings(table())}
    assert found["8x-a100", 8, "ring"].speedup.tolist() == [2.0, 4.0, 8.0]
    assert found["8x-h100", 1, "sliced"].devices == (2,)


def test_the_report_says_what_is_best_and_where_it_does_not_help():
    text = words(document())
    assert document().title == TITLE
    assert "With 8 sequences per step 8 cards are at best so many times as fast as one" in text
    assert "8.00 on 8x-a100 (ring)" in text
    assert "Slower than one card alone: sliced, 8x-a100 with 1 sequence, 2 cards" in text
    (cards,) = (b for b in document().blocks if isinstance(b, TableBlock) and b.key == "cards")
    assert ("8x-l40s", "1", "8", "8.00\u00a0s", "1.00\u00a0s", DASH, DASH, "8.00") in cards.rows


def test_the_figure_is_drawn_where_the_report_shows_it():
    assert {*document().figure_keys} == {*sweep_figures(table(), published())}


def test_an_axis_that_renames_the_rows_leaves_no_section():
    renamed = table().assign(label=[f"{label}, k=2" for label in table()["label"]])
    assert answers_cards(table())
    assert not answers_cards(renamed)
    assert "one-to-eight" not in sweep_figures(renamed, published())
