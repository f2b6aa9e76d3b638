"""Predictions against what others measured on GPUs: what is promised, and that it can fail."""

from dataclasses import replace

import pytest

from analysis.scores.constants import constant_scores
from analysis.scores.score import Guess, Score
from analysis.scores.summary import ALL, TIMES, Summary, all_scores, complaints, summaries
from analysis.scores.times import Row, nominal, rows_of, time_scores, unscored
from zo2sim.machines.file import without
from zo2sim.machines.machine import Machine
from zo2sim.machines.population import all_measurements, origin, population
from zo2sim.predict.predict import predict


def test_every_promise_holds():
    assert complaints(summaries()) == []


def test_every_time_is_scored_or_says_why_not():
    assert len(time_scores()) >= 60
    assert all(len(why) > 20 for why in unscored().values())
    assert {score.kind for score in all_scores()} == {
        "product",
        "link",
        "forward",
        "streamed",
        "decode",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("median", 0.13), ("p90", 0.31), ("signed", -0.06), ("width", 0.7), ("held", 0.79)],
)
@pytest.mark.parametrize("kind", [ALL, TIMES])
def test_a_promise_that_is_broken_is_told(kind: str, field: str, value: float):
    good = next(found for found in summaries() if found.kind == kind)
    assert len(complaints([replace(good, **{field: value})])) == 1


def test_bands_that_always_hold_say_too_little():
    good = next(found for found in summaries() if found.kind == ALL)
    assert "must be at most 97%" in complaints([replace(good, held=0.99)])[0]


def score(measured: float, value: float, low: float, high: float) -> Score:
    guess = Guess(value=value, low=low, high=high)
    return Score(
        name="x",
        kind="forward",
        unit="s",
        source="somebody",
        measured=measured,
        found=guess,
        left_out=guess,
    )


def test_a_summary_by_hand():
    found = Summary.of(
        "x", [score(1.0, 1.1, 0.9, 1.2), score(2.0, 1.6, 1.5, 1.9), score(4.0, 4.0, 3.0, 5.0)]
    )
    assert (found.count, found.median, found.signed) == (3, pytest.approx(0.1), pytest.approx(0.0))
    assert found.held == pytest.approx(2 / 3)
    assert found.width == pytest.approx(0.3 / 1.1)


# What a source has told is not used where it is left out


@pytest.mark.parametrize("source", ["optimum", "llm-pq", "h2o", "microbenchmark"])
def test_a_machine_without_a_source_names_it_nowhere(source: str):
    rows = rows_of(source)
    assert rows
    for row in rows[:1]:
        for name in row["machines"]:
            machine, key = without(name, [source]), f"{source}-only"
            assert key not in machine.name
            own = {m.source for found in all_measurements().values() for m in found}
            known = "; ".join(q.source for q in machine.quantities.values())
            assert source in own or source not in known


def test_leaving_the_host_out_changes_the_prediction_of_its_own_rate():
    lonely = [s for s in constant_scores() if s.found.value != s.left_out.value]
    assert len(lonely) > 20


def test_the_median_does_not_move_with_one_wild_host():
    key = ("link.h2d_bytes_per_s", "pcie-4.0-x16")
    found = all_measurements()[key]
    wild = replace(found[0], value=10 * found[0].value)
    moved = population(key[0], [wild, *found[1:]]).value
    assert moved == pytest.approx(population(key[0], found).value, rel=0.05)


def test_a_collection_of_many_peoples_hosts_is_left_out_host_by_host():
    owners = {
        origin(m) for found in all_measurements().values() for m in found if m.source == "torch-mm"
    }
    assert len(owners) > 30
    assert "torch-mm" not in owners


# How the share that long work leaves was found

BUSY_TOKENS = 1024


def is_late(source: str, machine: str, ratio: float) -> bool:
    """Whether most forwards of a source that keep a card busy are predicted to take longer than
    they did, were ``ratio`` what long work leaves of a large product."""
    own = with_ratio(without(machine, (source,)), ratio)
    rows = [r for r in rows_of(source) if machine in r["machines"] and keeps_busy(r)]
    late = [predict(nominal(row, own)).step_s > row["value"] for row in rows]
    return 2 * sum(late) > len(late)


def keeps_busy(row: Row) -> bool:
    return row["kind"] in ("forward", "streamed") and row["batch"] * row["sequence"] >= BUSY_TOKENS


def with_ratio(machine: Machine, ratio: float) -> Machine:
    known = machine.device.sustained_ratio
    assert known is not None, "a machine of the catalogue has one"
    quantity = replace(known, value=ratio, low=None, high=None)
    return replace(machine, device=replace(machine.device, sustained_ratio=quantity))


@pytest.mark.parametrize(
    ("source", "machine", "on_file"),
    [
        ("optimum", "a100-sxm-80gb", 0.61),
        ("llm-pq", "v100-sxm-32gb", 0.575),
        ("llm-pq", "a100-pcie-40gb", 0.70),
        ("h2o", "t4-16gb", 0.61),
    ],
)
def test_the_share_on_file_is_the_one_that_meets_the_forwards(
    source: str, machine: str, on_file: float
):
    key = ("device.sustained_ratio", "any")
    assert on_file in {m.value for m in all_measurements()[key] if m.source == source}
    assert is_late(source, machine, on_file - 0.06)
    assert not is_late(source, machine, on_file + 0.06)


def test_a_row_is_the_case_that_it_says():
    row = rows_of("llm-pq")[0]
    case = nominal(row, without(row["machines"][0], []))
    assert (case.model.name, case.recipe.batch) == ("opt-13b", 32)
    assert (case.workload.work, case.workload.logits) == ("forward", "last")
    assert case.workload.attention == "eager"
