"""Figures: what is drawn, from which rows, and that the same table gives the same bytes."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.claims.row import Row
from analysis.plots.claims import claims
from analysis.plots.front import front
from analysis.plots.style import COLUMN_IN, series, svg_text
from analysis.plots.sweep.ablation import ablation, slowdowns
from analysis.plots.sweep.both_ways import both_ways
from analysis.plots.sweep.break_even import break_even, ratios
from analysis.plots.sweep.figures import sweep_figures
from analysis.plots.sweep.memory import memory_against_size, memory_breakdown
from analysis.plots.sweep.published import claim_label, compared, known
from analysis.plots.sweep.throughput import speedups, throughput_against_size
from analysis.plots.timeline import exposed, timeline, zoom_window
from analysis.table import device_gib, error_bars, of_question, where
from tests.machines import costs, rates
from tests.sweep_table import GIB, items, published, row, sweep_table
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.predict.case import Case
from zo2sim.search.search import Found
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Trace, Window, breakdown


def trace_of(*, blocks: int = 8, h2d: int = 7, periods: int = 3) -> Trace:
    program = build(Shape(num_blocks=blocks), Plan(), Recipe())
    work = costs(h2d=h2d, forward=4, d2h=2, update=1, loss=1)
    return simulate(program, work, rates(), periods=periods)


def claim_rows() -> list[Row]:
    agreeing = Row(
        claim="fuyou",
        item="device_gb",
        kind="feasibility",
        unit="GB",
        published=175.0,
        predicted=174.6,
        agrees=True,
    )
    wide = replace(agreeing, item="tflops_13b", predicted=105.0, low=100.0, high=120.0)
    fits = replace(agreeing, item="params_b", kind="fit")
    return [fits, agreeing, replace(wide, agrees=False, why="because")]


PLOTS: dict[str, Callable[[], Figure]] = {
    "memory": lambda: memory_against_size(sweep_table(), published()),
    "breakdown": lambda: memory_breakdown(items()),
    "throughput": lambda: throughput_against_size(sweep_table()),
    "ablation": lambda: ablation(sweep_table()),
    "break_even": lambda: break_even(sweep_table()),
    "both_ways": lambda: both_ways(sweep_table()),
    "claims": lambda: claims(claim_rows()),
    "timeline": lambda: timeline(trace_of(), trace_of().steady),
}
every_plot = pytest.mark.parametrize("name", PLOTS)


@cache
def drawn(name: str) -> Figure:
    return PLOTS[name]()


@cache
def written(name: str) -> str:
    return svg_text(drawn(name))


def lines(figure: Figure, panel: int = 0) -> dict[str, list[float]]:
    shown = figure.axes[panel].get_lines()
    return {str(x.get_label()): np.asarray(x.get_ydata(), float).tolist() for x in shown}


@every_plot
def test_same_input_gives_the_same_bytes(name: str):
    assert written(name) == svg_text(PLOTS[name]())


@every_plot
def test_svg_needs_no_font_and_bears_no_date(name: str):
    assert "<text" not in written(name)
    assert "dc:date" not in written(name)


@every_plot
def test_every_axis_says_what_it_shows_in_which_unit(name: str):
    axes = [a for a in drawn(name).axes if a.xaxis.get_visible() and a.get_label() != "<colorbar>"]
    words = [f"{a.get_xlabel()} {a.get_ylabel()}" for a in axes]
    units = ("(GiB)", "(tokens/s)", "(s)", "(ms)", "relative", "steps", "per step", "multiple")
    assert all(any(unit in w for unit in units) for w in words)


@every_plot
def test_legend_stays_off_the_data(name: str):
    figure = drawn(name)
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(box) for box in boxes)


@every_plot
def test_nothing_is_cut_off(name: str):
    figure = drawn(name)
    ink = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    paper = figure.bbox.padded(1)
    assert paper.contains(ink.x0, ink.y0)
    assert paper.contains(ink.x1, ink.y1)


def test_whiskers_are_explained_where_there_are_any():
    table = sweep_table()
    plain, banded = (
        ablation(t).axes[0].get_xlabel()
        for t in (table, table.assign(step_s_low=0.9 * table.step_s, step_s_high=table.step_s))
    )
    assert plain == "step time relative to full ZO2"
    assert banded == f"{plain}\n(whiskers: 90 % band of the step without the feature)"


def test_plots_leave_matplotlib_s_settings_alone():
    before = dict(mpl.rcParams)
    svg_text(both_ways(sweep_table()))
    assert dict(mpl.rcParams) == before


def test_figures_have_the_width_of_a_column():
    assert both_ways(sweep_table()).get_figwidth() == COLUMN_IN


def test_one_colour_per_policy_and_its_variants():
    assert series("MeZO") == series("resident")
    assert series("zo2 k=4").colour == series("zo2").colour
    assert series("zo2 k=4").title == "ZO2 k=4"
    known = ("MeZO", "AdamW", "zo2_reference", "zo2", "naive", "dual", "host_update")
    assert len({series(label).colour for label in known}) == len(known)


def test_a_missing_question_is_named():
    with pytest.raises(ValueError, match="must have rows of question 'both_ways'; it has memory"):
        of_question(pd.DataFrame([row("memory", "zo2", "opt-30b")]), "both_ways")


def test_memory_lines_are_gib_of_the_monitor_where_predicted():
    rows = pd.DataFrame(
        [
            row("memory", "zo2", "opt-1.3b", device_bytes=3 * GIB),
            row("memory", "zo2", "opt-30b", device_bytes=3 * GIB, device_nvml_bytes=4 * GIB),
        ]
    )
    assert device_gib(rows).tolist() == [3.0, 4.0]
    assert lines(memory_against_size(rows, published()))["ZO2"] == [3.0, 4.0]


def test_published_figures_meet_the_prediction_of_their_own_kind():
    sizes = {"device_allocated_bytes": 3 * GIB, "device_nvml_bytes": 5 * GIB}
    table = pd.DataFrame([row("memory", "zo2_reference", "opt-6.7b", **sizes)])
    device, allocated = known(compared(table, published()))
    assert (device.claim, device.predicted_gib) == ("zo2-nvml-memory", 5.0)
    assert (allocated.claim, allocated.predicted_gib) == ("zo2-allocated-memory-fp16", 3.0)
    assert device.error == pytest.approx(5 / 4.99 - 1)


def test_published_figures_of_other_models_are_left_out():
    assert "opt-66b" not in {c.model for c in compared(sweep_table(), published())}


def test_a_claim_about_something_else_is_refused():
    with pytest.raises(ValueError, match="must be one of adamw-"):
        claim_label("fuyou")


def test_the_front_is_a_step_line_with_the_best_plan_marked():
    case = Case(
        model=preset("opt-125m"), machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe()
    )
    sizes = ((4 * GIB, 2.0, True), (2 * GIB, 4.0, True), (3 * GIB, 3.0, False))
    best, *others = (
        Found(
            case=case,
            step_s=step_s,
            device_bytes=device,
            host_bytes=GIB,
            nvme_bytes=0,
            simulated=simulated,
        )
        for device, step_s, simulated in sizes
    )
    figure = front([best, *others], best)
    line, star = figure.axes[0].get_lines()
    assert np.asarray(line.get_xdata()).tolist() == [2.0, 3.0, 4.0]
    assert np.asarray(line.get_ydata()).tolist() == [512.0, 2048 / 3, 1024.0]
    assert np.asarray(star.get_xydata()).tolist() == [[4.0, 1024.0]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["what memory buys", "at most so fast", "the best plan"]


def test_breakdown_sums_small_items_up():
    figure = memory_breakdown(items())
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[-1] == "other"
    assert not {"rounding", "records"} & set(names)


def test_throughput_marks_what_does_not_fit():
    table = pd.DataFrame(
        [
            row("throughput", "zo2", "opt-1.3b", tokens_per_s=8.0),
            row("throughput", "zo2", "opt-30b", tokens_per_s=2.0, fits=False),
        ]
    )
    axes = throughput_against_size(table).axes[0]
    hollow = [x for x in axes.get_lines() if x.get_markerfacecolor() == "white"]
    assert [np.asarray(x.get_ydata()).tolist() for x in hollow] == [[2.0]]


def test_second_panel_is_relative_to_mezo():
    table = sweep_table()
    rows = of_question(table, "throughput")
    own, mezo = (where(rows, "label", label) for label in ("zo2 M=8", "MeZO"))
    assert np.isnan(speedups(own, mezo)).all()  # MeZO has 1 microbatch there
    fair = where(rows, "label", "MeZO M=8")
    assert speedups(own, fair) == pytest.approx([1 / 0.95] * 4)
    drawn = lines(throughput_against_size(table), 1)
    assert drawn["MeZO (resident)"] == drawn["ZO2, published"] == [1.0] * 4
    assert "MeZO (8 microbatches)" not in drawn


def test_error_bars_appear_with_their_columns():
    table = sweep_table().assign(step_s_low=1.0, step_s_high=np.nan)
    assert not both_ways(table).axes[0].collections
    table["step_s_high"] = table["step_s"] * 1.1
    table["step_s_low"] = table["step_s"] * 0.9
    for figure in (both_ways(table), throughput_against_size(table), ablation(table)):
        assert figure.axes[0].collections


def test_error_bars_are_distances():
    bars = error_bars(np.array([4.0, 5.0]), np.array([3.0, np.nan]), np.array([6.0, 5.0]))
    assert bars.tolist() == [[1.0, 0.0], [2.0, 0.0]]


def test_slowdowns_are_relative_to_all_features_per_model():
    slow = slowdowns(sweep_table())
    assert {s.label: s.value for s in slow if s.model == "opt-30b"} == pytest.approx(
        {"no overlap": 2.3, "no slot reuse": 1.4, "no deferred update": 1.7, "1 slot": 1.9}
    )


def test_an_ablation_without_its_baseline_is_refused():
    table = pd.DataFrame([row("ablation", "no overlap", "opt-30b", policy="zo2", overlap=False)])
    with pytest.raises(ValueError, match="must have a row of policy zo2 with overlap"):
        ablation(table)


def test_break_even_divides_by_resident_at_the_same_tokens():
    grid = ratios(sweep_table())
    assert grid.tokens.tolist() == [256, 1024, 4096, 16384]
    assert grid.bytes_per_s.tolist() == [4e9, 8e9, 16e9, 32e9, 64e9]
    assert grid.ratio[1, 4] == pytest.approx(1 / 1.001)
    assert grid.ratio[0, 0] == pytest.approx(0.256 / 6.5)


def test_break_even_needs_a_grid():
    table = where(sweep_table(), "tokens_per_step", 1024)
    with pytest.raises(ValueError, match="at least 2 link rates and 2 sizes of step"):
        break_even(table)


def test_a_flat_break_even_draws_without_contours():
    rows = [row("break_even", "MeZO", "opt-30b", tokens_per_step=t) for t in (1, 2)]
    rows += [
        row("break_even", "zo2", "opt-30b", tokens_per_step=t, h2d_bytes_per_s=rate)
        for t in (1, 2)
        for rate in (4e9, 8e9)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg_text(break_even(pd.DataFrame(rows)))


def test_exposed_time_is_that_of_the_breakdown():
    trace = trace_of()
    total = sum(end - start for start, end in exposed(trace, trace.steady))
    assert total == pytest.approx(breakdown(trace, trace.steady).exposed_s)
    assert total > 0


def test_hidden_copies_expose_nothing():
    trace = trace_of(h2d=2)
    middle = zoom_window(trace, trace.steady)
    assert exposed(trace, middle) == ()


def test_zoom_shows_four_blocks_from_the_middle():
    trace = trace_of(h2d=2)
    zoom = zoom_window(trace, trace.steady)
    assert zoom.length_s == 4 * (4 + 1)
    assert trace.steady.start_s < zoom.start_s < zoom.end_s < trace.steady.end_s


def test_a_model_of_few_blocks_is_shown_whole():
    trace = trace_of(blocks=3)
    assert zoom_window(trace, trace.steady) == trace.steady


def test_timeline_of_a_window_without_host_work_has_no_host_row():
    figure = timeline(trace_of(), Window(0.0, 12.0))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["to the device", "compute", "to the host"]


def test_sweep_draws_only_what_it_has_rows_for():
    table = sweep_table()
    everything = sweep_figures(table, published(), trace=trace_of())
    assert list(everything) == [
        *("memory", "throughput", "ablation", "break-even", "both-ways"),
        "timeline",
    ]
    assert list(sweep_figures(of_question(table, "memory"), published())) == ["memory"]


def test_claims_have_a_line_per_predicted_value_and_name_each_claim_once():
    axes = claims(claim_rows()).axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["Fuyou:  device memory", "rate at 13B"]


def test_a_figure_of_no_claims_is_refused():
    with pytest.raises(ValueError, match="a figure of claims needs at least one row; got none"):
        claims([])
