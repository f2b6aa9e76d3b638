"""What a trace tells: a simulated run gives back the constants that it was simulated with."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from math import log
from statistics import fmean

import numpy as np
import pytest

from analysis.fits.law import fit
from analysis.fits.machine import START_S
from analysis.fits.trace_file import read_trace
from analysis.fits.trace_rows import Counted, copy_rows, gap_rows, gaps, op_rows
from analysis.validation.op_errors import LIMIT, OpError, op_errors, suspects
from analysis.validation.replay import mean_durations_s, replayed_s
from tests.analysis.report.test_validation_report import OPERATION
from tests.zo2sim.cost.test_cpu import case
from tests.zo2sim.cost.test_crowding import on_two
from zo2sim.cost.cpu import seconds_per
from zo2sim.cost.measured import Measured
from zo2sim.machines.what_if import cap_link, scale_link
from zo2sim.plan.choices import Plan, Policy
from zo2sim.predict.case import Case
from zo2sim.predict.drift import Drift, drifted
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import Kind, Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.perfetto import to_json
from zo2sim.simulate.trace import Span, Trace

STEPS = 7
SETTLED = Counted(steps=range(2, STEPS))


def traced(one: Case) -> Trace:
    return simulate(one.program, one.cost, one.cost.rates, periods=STEPS)


def test_every_compute_operation_is_a_row_that_its_constants_explain():
    one = case()
    for row in op_rows(traced(one), one, "run", SETTLED):
        known = one.machine.quantities
        exact = sum(a * seconds_per(k, known[k].value) for k, a in row.amounts.items())
        assert row.seconds == pytest.approx(exact), row.name


def test_gaps_are_the_gap_and_the_turnaround():
    one = case(Plan(policy=Policy.RESIDENT))
    rows = gap_rows_of(one)
    assert set(rows) == {"gap", "turnaround"}
    assert rows["gap"].seconds == pytest.approx(5e-5)
    assert rows["turnaround"].seconds == pytest.approx(1e-3 + 10 * 3e-5 + 2 * 1e-4)
    assert rows["turnaround"].amounts["cpu.turnaround_operation_s"] == 10


def test_what_waits_for_a_copy_wakes_up_later():
    rows = gap_rows_of(case(Plan(num_slots=1)))
    assert rows["wake"].amounts == {"cpu.wake_s": 1}
    assert rows["wake"].seconds == pytest.approx(1e-4)
    assert rows["gap"].seconds == pytest.approx(5e-5)


def test_a_loss_that_a_trip_of_updates_follows_has_an_ordinary_gap():
    rows = gap_rows_of(case(Plan(policy=Policy.DUAL)))
    assert "turnaround" not in rows
    assert rows["gap"].amounts == {"cpu.gap_s": 1}


def gap_rows_of(one: Case) -> dict[str, Measured]:
    trace = traced(one)
    return {row.group: row for row in gap_rows(trace, one, "run", SETTLED)}


def test_what_computes_starts_a_gap_after_what_it_waits_for_and_all_else_at_once():
    one = case(Plan(num_slots=1))
    found = [*gaps(traced(one), one, range(2, STEPS))]
    computes = [seconds for _, after, seconds in found if after.op.stream is Stream.COMPUTE]
    beside = [seconds for _, after, seconds in found if after.op.stream is not Stream.COMPUTE]
    assert min(computes) >= 5e-5 * (1 - 1e-9)
    assert beside == pytest.approx([0.0] * len(beside), abs=1e-12)


def test_copies_tell_the_link_or_what_a_limit_adds():
    one = case()
    free = list(copy_rows(traced(one), one, "run", SETTLED, limit_bytes_per_s=None))
    assert {key for row in free for key in row.amounts} == {
        "cpu.copy_start_s",
        "link.latency_s",
        "link.h2d_bytes_per_s",
        "link.d2h_bytes_per_s",
    }
    limited = list(copy_rows(traced(one), one, "run", SETTLED, limit_bytes_per_s=1e9))
    assert {row.group for row in limited} == {"limited copy in a run"}
    assert all(row.known_s == row_bytes(one) / 1e9 for row in limited)


def row_bytes(one: Case) -> float:
    return float(one.cost.setting.unit_bytes(0, one.recipe.wire_dtype))


def test_rows_of_runs_fit_the_constants_that_runs_can_tell():
    """Noise of 1 % on every duration; three runs of different size."""
    rng = np.random.default_rng(0)
    rows: list[Measured] = []
    for number, (sequence, batch) in enumerate([(2, 1), (512, 4), (2048, 2)]):
        one = case(sequence=sequence, batch=batch)
        for row in op_rows(traced(one), one, str(number), SETTLED):
            rows.append(replace(row, seconds=row.seconds * float(np.exp(rng.normal(0.0, 0.01)))))
    found = fit(rows, START_S)
    low, value, high = found.interval("cpu.softmax_elements_per_s")
    assert low <= 1e9 <= high
    assert value == pytest.approx(1e9, rel=0.05)
    assert found.warnings


def test_the_rules_reproduce_a_run_from_its_durations():
    one = case()
    trace = traced(one)
    assert replayed_s(trace, one, range(2, STEPS)) == pytest.approx(trace.step_s, rel=1e-9)


def test_a_step_that_was_not_measured_takes_what_it_took_before():
    one = case(Plan(write_back_every=3))
    trace = traced(one)
    assert replayed_s(trace, one, {5}) == pytest.approx(trace.step_s, rel=0.03)


def longer(trace: Trace, kinds: Mapping[Kind, int]) -> Trace:
    """Operations of a kind take nine times as long in every second step, from the given one on."""

    def own(span: Span) -> Span:
        times = 9 if kinds.get(span.op.kind) == span.step % 2 else 1
        return replace(span, end_s=span.start_s + times * span.duration_s)

    return replace(trace, spans=tuple(map(own, trace.spans)))


def test_steps_that_scatter_are_replayed_one_by_one():
    """Of copies and forwards the longer one counts in each, not the longer of the means."""
    one = linked()
    trace, steps = traced(one), (4, 5)
    copies, forwards = ({kind: 0} for kind in (Kind.H2D, Kind.FORWARD))
    apart = [replayed_s(longer(trace, kinds), one, {4}) for kinds in (copies, forwards)]
    mixed_s = replayed_s(longer(trace, {Kind.H2D: 0, Kind.FORWARD: 1}), one, steps)
    assert mixed_s == pytest.approx(fmean(apart))


def linked() -> Case:
    """Copies that take long beside the wake-up of their thread."""
    one = case()
    return replace(one, machine=scale_link(one.machine, 0.05))


def test_a_halved_bandwidth_is_exposed_and_the_link_is_named():
    one = linked()
    measured = traced(one)
    durations = mean_durations_s(measured, range(2, STEPS))
    assert suspects(op_errors(measured, one, durations, "right")) == ()
    wrong = replace(one, machine=scale_link(one.machine, 0.5))
    rows = [*op_errors(measured, wrong, durations, "wrong")]
    assert suspects(rows) == ()  # one configuration may be disturbed
    assert suspects(3 * rows) == ()  # nor do more rows of it count for more
    found = suspects(rows_of("one", "two", "three", like=rows))
    assert {s.constant for s in found} == {"link.h2d_bytes_per_s", "link.d2h_bytes_per_s"}
    assert all(s.ratio > 1.5 for s in found)
    assert any(s.sentence.startswith("link.h2d_bytes_per_s: H2D is predicted 1.") for s in found)


@pytest.mark.parametrize(
    ("measured_s", "unexplained"), [(1.0, log(2.0)), (2.0, 0.0), (5.9, 0.0), (12.0, log(0.5))]
)
def test_what_an_interval_holds_is_explained(measured_s: float, unexplained: float):
    row = replace(OPERATION, predicted_s=3.0, measured_s=measured_s, low_s=2.0, high_s=6.0)
    assert row.unexplained == pytest.approx(unexplained)


def test_what_calibration_left_open_is_blamed_beyond_it_only():
    """Three configurations in which copies take two thirds of what the link's speed says."""
    one = linked()
    trace, link = traced(one), one.machine.link
    durations = {name: s / 1.5 for name, s in mean_durations_s(trace, range(2, STEPS)).items()}
    ratios: dict[float, list[float]] = {}
    for wide in (1.1, 1.5):
        value = link.h2d_bytes_per_s.value
        rate = replace(link.h2d_bytes_per_s, low=value / wide, high=value * wide)
        known = replace(one, machine=replace(one.machine, link=replace(link, h2d_bytes_per_s=rate)))
        rows = [*op_errors(trace, known, durations, "run")]
        found = suspects(rows_of("one", "two", "three", like=rows))
        ratios[wide] = [s.ratio for s in found if s.constant == "link.h2d_bytes_per_s"]
    assert ratios == {1.1: [pytest.approx(1.5)], 1.5: []}


def test_only_the_part_of_an_open_constant_is_open():
    """A loss is its own constant's; the turnaround after it is not part of the operation."""
    one = case()
    assert one.machine.cpu is not None
    known = one.machine.cpu.loss_s
    wide = replace(known, low=known.value / 2, high=known.value * 3)
    cpu = replace(one.machine.cpu, loss_s=wide)
    trace = traced(one)
    durations = mean_durations_s(trace, range(2, STEPS))
    open_one = replace(one, machine=replace(one.machine, cpu=cpu))
    rows = [*op_errors(trace, open_one, durations, "run")]
    (loss,) = (row for row in rows if row.kind is Kind.LOSS)
    assert loss.constant == "cpu.loss_s"
    assert loss.predicted_s - loss.low_s == pytest.approx(known.value / 2)
    assert loss.high_s - loss.predicted_s == pytest.approx(known.value * 2)
    forward = next(row for row in rows if row.kind is Kind.FORWARD)
    assert (forward.low_s, forward.high_s) == (forward.predicted_s, forward.predicted_s)


def test_measurements_are_compared_with_the_machine_as_it_was_meanwhile():
    """Its gaps are longer, and so are its operations: all of it is explained by the drift."""
    one = case(Plan(policy=Policy.RESIDENT))
    meanwhile = replace(one, machine=drifted(one.machine, Drift(computing=1.2, starting=2.0)))
    trace = traced(meanwhile)
    durations = mean_durations_s(trace, range(2, STEPS))
    assert replayed_s(trace, meanwhile, range(2, STEPS)) == pytest.approx(trace.step_s)
    assert replayed_s(trace, one, range(2, STEPS)) < 0.99 * trace.step_s
    right, wrong = ([*op_errors(trace, c, durations, "run")] for c in (meanwhile, one))
    assert [row.ratio for row in right] == pytest.approx([1.0] * len(right))
    assert all(row.ratio < 0.99 for row in wrong)


def test_a_limited_copy_blames_no_link():
    one = case()
    limited = replace(one, machine=cap_link(one.machine, 2e6))
    errors = op_errors(traced(one), limited, {"H0": 1.0, "D0": 1.0}, "run")
    assert {error.constant for error in errors} == {LIMIT}
    wide = cap_link(one.machine, 2e9)
    assert wide.link.h2d_bytes_per_s == one.machine.link.h2d_bytes_per_s, "slower than the limit"


def test_every_configuration_has_one_vote_however_many_rows_it_has():
    """Three are right; a fourth is off in every one of its many rows."""
    one = linked()
    (row,) = (e for e in op_errors(traced(one), one, {"H0": 1.0}, "run") if e.op.startswith("H0"))
    right, off = (replace(row, predicted_s=s, low_s=s, high_s=s) for s in (1.0, 2.0))
    votes = rows_of("one", "two", "three", like=[right])
    assert suspects([*votes, *rows_of("off", like=9 * [off])]) == ()
    (found,) = suspects([*rows_of("one", "two", "off", like=[off]), *votes[2:]])
    assert (found.ratio, found.count) == (pytest.approx(2.0), 4)
    assert found.sentence == (
        "link.h2d_bytes_per_s: H2D is predicted 2x too long in the median of 4 configurations"
    )


def rows_of(*names: str, like: list[OpError]) -> list[OpError]:
    return [replace(row, configuration=name) for name in names for row in like]


def test_a_trace_comes_back_from_its_file(tmp_path):
    one = case()
    trace = traced(one)
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(to_json(trace, name="run", metadata={}).encode()))
    back = read_trace(path, one.program)
    assert [(s.op, s.step) for s in back.spans] == [(s.op, s.step) for s in trace.spans]
    assert [s.start_s for s in back.spans] == pytest.approx(
        [s.start_s for s in trace.spans], abs=1e-9
    )


def test_a_trace_of_another_plan_is_refused(tmp_path):
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(to_json(traced(case()), name="run", metadata={}).encode()))
    other = case(Plan(policy=Policy.RESIDENT)).program
    with pytest.raises(ValueError, match=r"has no operation H0: is it another plan's\?"):
        read_trace(path, other)


@pytest.mark.parametrize("content", [b"", b"{}", gzip.compress(b"[]")], ids=range(3))
def test_what_is_no_trace_is_refused(tmp_path, content: bytes):
    path = tmp_path / "trace.json.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"trace\.json\.gz: must be a trace of this run"):
        read_trace(path, case().program)


def test_operations_of_one_kind_share_a_row():
    one = case()
    durations = mean_durations_s(traced(one), range(2, STEPS))
    rows = [e for e in op_errors(traced(one), one, durations, "run") if e.kind is Kind.FORWARD]
    assert [row.op for row in rows] == ["Fhead", "F0 and 2 alike", "Ftail"]
    assert [row.per_step for row in rows] == [1, 3, 1]
    assert [row.ratio for row in rows] == pytest.approx([1, 1, 1])


def test_what_a_machine_that_has_drifted_took_is_more_of_the_same_constants():
    one = case(Plan(num_slots=1))
    drift = Drift(computing=1.5, starting=3.0)
    after = replace(one, machine=drifted(one.machine, drift))
    trace, known = traced(after), one.machine.quantities
    counted = Counted(steps=SETTLED.steps, drift=drift)
    rows = [*op_rows(trace, one, "run", counted), *gap_rows(trace, one, "run", counted)]
    assert {"cpu.gemm_flops_per_s", "cpu.gap_s"} <= {key for row in rows for key in row.amounts}
    for row in rows:
        exact = sum(a * seconds_per(k, known[k].value) for k, a in row.amounts.items())
        assert row.seconds == pytest.approx(exact), row.name


def test_links_do_not_drift_with_the_cores():
    one = case()
    counted = Counted(steps=SETTLED.steps, drift=Drift(computing=1.5, starting=3.0))
    rows = [*copy_rows(traced(one), one, "run", counted, limit_bytes_per_s=None)]
    rates = [
        key for row in rows for key in row.amounts if key.startswith("link.") and "_per_" in key
    ]
    assert {*rates} == {"link.h2d_bytes_per_s", "link.d2h_bytes_per_s"}
    for row in rows:
        others = {"link.latency_s": 1.0, "cpu.copy_start_s": 3.0}
        (rate,) = (key for key in row.amounts if key not in others)
        assert row.amounts == {rate: row_bytes(one), **others}
    limited = copy_rows(traced(one), one, "run", counted, limit_bytes_per_s=1e9)
    assert all(row.amounts == {"cpu.throttle_s": 1.0} for row in limited)


def test_replaying_takes_no_wait_for_a_turn_twice():
    plan = Plan(devices=2, placement="sliced")
    found = predict(on_two(1.0, 1.0, cores=8.0, plan=plan))
    steps = range(1, 1 + max(span.step for span in found.trace.spans))
    again_s = replayed_s(found.trace, found.case, steps)
    assert again_s == pytest.approx(found.step_s, rel=0.02)
