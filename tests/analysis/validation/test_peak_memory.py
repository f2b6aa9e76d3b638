"""Measured memory against the account: exact arenas, growth within 5 %, and how that is said."""

from dataclasses import replace

import pytest

from analysis.report.commands.validation import Findings, validation_document
from analysis.report.document import TableBlock
from analysis.report.html import html_text
from analysis.report.trust import TOPICS
from analysis.validation.peak_memory import MemoryCheck, MemoryScores
from analysis.validation.scores import Scores
from experiments.campaign.designs import llama, memory_runs, recipe
from experiments.comparison import memory as memory_check
from tests.analysis.validation.test_scores import comparison
from tests.calibrated import calibrated_host
from tests.thorough import THOROUGH
from zo2rt.measure.footprint import Footprint, footprint_apart
from zo2rt.measure.runs import RunSpec
from zo2sim.memory.account import CACHED, CONTEXT, Item, MemoryAccount, MemoryPlace
from zo2sim.memory.account import fits as compared
from zo2sim.plan.choices import Plan

PARTS = {
    MemoryPlace.DEVICE: {
        "slots": 300,
        "scratch": 100,
        "hidden states": 50,
        CONTEXT: 7000,
        CACHED: 9,
    },
    MemoryPlace.HOST: {"streamed blocks, exact": 550, "process": 8000},
}
ACCOUNT = MemoryAccount(
    title="a run",
    items=tuple(
        Item(place=place, name=name, num_bytes=num_bytes, cause="a test")
        for place, parts in PARTS.items()
        for name, num_bytes in parts.items()
    ),
)


def check(arena: int = 400, grown: int | None = None) -> MemoryCheck:
    return MemoryCheck(name="run", account=ACCOUNT, arena_bytes=arena, grown_bytes=grown)


def test_the_arena_is_what_the_runtime_allocates_itself():
    assert check().predicted_arena_bytes == 300 + 100
    two = replace(ACCOUNT, items=(*ACCOUNT.items, replace(ACCOUNT.items[0], device=1)))
    assert replace(check(), account=two).predicted_arena_bytes == 300 + 100 + 300
    assert [check(arena=n).arena_is_exact for n in (399, 400, 401)] == [False, True, False]


def test_a_process_holds_device_and_host_but_no_context_or_libraries():
    assert check().predicted_grown_bytes == 300 + 100 + 50 + 550
    assert check().rss_error is None
    assert check(grown=800).rss_error == pytest.approx(0.25)


def test_every_arena_and_every_process_must_keep_to_its_account():
    good = MemoryScores(checks=(check(), check(grown=953), check(grown=1052)))
    assert good.complaints == ()
    assert good.figures == {
        "arena_exact": True,
        "rss_n": 2,
        "rss_max_error": pytest.approx(52 / 1052),
    }
    bad = MemoryScores(checks=(check(arena=401), check(grown=1053)))
    assert bad.figures["arena_exact"] is False
    assert bad.complaints == (
        "run: the arena must have the 400 bytes of the account; it has 401",
        "run: the process must grow by the 0 MB of the account within 5%; it grew by 0",
    )
    assert MemoryScores().figures == {}


def test_the_report_has_the_processes_that_were_measured():
    measured = MemoryScores(checks=(check(), check(arena=401, grown=1052)))
    scores = Scores(comparisons=(comparison(),))
    grounds = dict.fromkeys(TOPICS, "as assumed")
    found = Findings(scores=scores, operations=(), settings={}, grounds=grounds, memory=measured)
    document = validation_document(found, provenance={})
    (table,) = (b for b in document.blocks if isinstance(b, TableBlock) and b.key == "memory")
    assert [row[0] + row[-1] for row in table.rows] == ["rundiffers"]
    text = html_text(document, dict.fromkeys(document.figure_keys, "<svg/>"))
    assert "account&#39;s in 1 of them (run first)" in text


def test_a_quick_look_takes_the_first_processes(monkeypatch: pytest.MonkeyPatch):
    measured = list[str]()

    def footprint(spec: object) -> Footprint:
        measured.append(spec.name)  # type: ignore[attr-defined]
        return Footprint(arena_bytes=1, grown_bytes=2)

    monkeypatch.setattr(memory_check, "footprint_apart", footprint)
    names = [spec.name for spec in memory_runs()]
    assert [c.name for c in memory_check.process_checks(quick=True)] == names[:2] == measured
    assert [c.name for c in memory_check.process_checks(quick=False)] == names


def test_every_run_of_the_design_is_large_and_takes_memory_in_its_own_way():
    checks = [memory_check.checked(spec, arena_bytes=0) for spec in memory_runs()]
    assert all(3e8 < c.predicted_grown_bytes < 7e8 for c in checks)
    assert len({c.predicted_grown_bytes for c in checks}) >= 5
    assert all(fit.fits for c in checks for fit in compared(c.account, calibrated_host())[:1])


@pytest.mark.skipif(not THOROUGH, reason="`validate --quick` in .ci/smoke does it twice")
def test_a_process_holds_what_is_accounted():
    """Four lanes of a long sequence: what a lane kept of every block would be a tenth more."""
    spec = RunSpec(
        name="lanes",
        config=llama(256, 6, vocab=12_000),
        plan=Plan(),
        recipe=recipe(batch=1, sequence=256, microbatches=2, noise="rademacher"),
    )
    found = footprint_apart(spec)
    measured = memory_check.checked(
        spec, arena_bytes=found.arena_bytes, grown_bytes=found.grown_bytes
    )
    assert MemoryScores(checks=(measured,)).complaints == ()
