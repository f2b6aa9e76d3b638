"""Fitting kernel times: on synthetic truth, against the committed files, and out of sample."""

import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.fits.kernels.file import digest
from analysis.fits.kernels.fit import fit_residual, fit_roofline, pattern_search, predicted_s
from analysis.fits.kernels.table import (
    LAYERS_GPU,
    AttentionTable,
    Component,
    GemmTable,
    all_attention,
    all_gemm,
    read_gemm,
)
from analysis.fits.kernels.validation import (
    folds,
    held_out_log_errors,
    hold_outs,
    pooled,
    summary,
)
from experiments.fit_kernels import (
    FILES,
    REFITTED,
    TABLES,
    Config,
    broken_promises,
    changed,
    main,
    outdated,
    refitted,
    stored_rows,
    todays_turn,
)
from zo2sim.cost.kernels import scaled_model, table_model
from zo2sim.cost.kernels.gemm import gemm_flops
from zo2sim.machines.machine import KERNEL_TABLES


@cache
def gemm_tables() -> list[GemmTable]:
    return all_gemm(TABLES)


@cache
def attention_tables() -> list[AttentionTable]:
    return all_attention(TABLES)


def small() -> GemmTable:
    """The rows of one device with n and k up to 2048."""
    table = gemm_tables()[0]
    _, n, k = table.sizes
    return table.rows((n <= 2048) & (k <= 2048))


def residual_errors(table: GemmTable | AttentionTable, kind: str) -> np.ndarray:
    """Log errors of the stored fit on its own rows, without their median."""
    kernel = getattr(table_model(table.gpu), kind)
    error = np.log(predicted_s(table, kernel.roofline, kernel.residual) / table.seconds)
    return np.abs(error - np.median(error))


# The committed files


A100 = "a100-sxm-80gb"


def test_a_refit_gives_the_committed_file():
    """Of one device, with its errors as committed: `fit_kernels --check` does the whole."""
    assert changed({A100: refitted(A100, TABLES)}) == []


def stepped(content: Any, steps: int) -> None:
    """The first correction of an attention, so many steps on."""
    planes = content["attention"]["residual"]["values"]
    first, *others = planes[0].split()
    planes[0] = " ".join([str(int(first) + steps), *others])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: stepped(c, -3), False),
        (lambda c: stepped(c, 4), True),
        (lambda c: c["gemm"]["residual"]["values"].pop(), True),
        (lambda c: c["gemm"]["roofline"].update(overhead_s=1.0), True),
        (lambda c: c.update(inputs="others"), True),
    ],
)
def test_a_file_is_another_one_beyond_what_processors_round(
    change: Callable[[Any], object], told: bool
):
    content = json.loads((FILES / f"{A100}.json").read_text("utf-8"))
    change(content)
    assert bool(changed({A100: json.dumps(content)})) is told


def test_the_committed_files_keep_the_promises():
    assert broken_promises() == []


def test_a_broken_promise_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("experiments.fit_kernels.BOUNDS", {("gemm", "main"): 0.02})
    message = "h100-sxm-80gb, gemm main: the median error without the device's level must be at"
    assert any(line.startswith(message) for line in broken_promises())


def test_the_committed_files_were_fitted_to_the_tables():
    assert outdated(digest(TABLES)) == []
    assert len(outdated("of other tables")) == 1 + len(KERNEL_TABLES)


def test_every_device_has_its_turn():
    day = datetime.date(2026, 1, 1)
    turns = [todays_turn(day + datetime.timedelta(days)) for days in range(len(REFITTED))]
    assert sorted(turns) == sorted(REFITTED)


def test_the_table_has_every_device_and_the_class():
    found = {(row["kernel"], row["device"]) for row in stored_rows()}
    devices = [*KERNEL_TABLES, "pooled"]
    assert found == {(kind, device) for kind in ("gemm", "attention") for device in devices}


@pytest.mark.parametrize("table", gemm_tables(), ids=lambda table: table.gpu)
def test_rows_of_the_tables_are_met_within_four_percent(table: GemmTable):
    assert np.median(residual_errors(table, "gemm")) < 0.04


@pytest.mark.parametrize("table", attention_tables(), ids=lambda table: table.gpu)
def test_rows_of_attention_are_met_within_four_percent(table: AttentionTable):
    assert np.median(residual_errors(table, "attention")) < 0.04


def test_the_class_predicts_a_card_of_which_it_has_seen_nothing():
    """The RTX 4090's products at 1024 tokens and more: its rows are not in the class's fit."""
    table = gemm_tables()[-1]
    assert table.gpu == LAYERS_GPU
    rates, (m, n, k) = table.rates, table.sizes
    model = scaled_model(rates.flops_per_s, rates.bytes_per_s, rates.num_sms)
    error = np.log(np.asarray(model.gemm_s(m, n, k)) / table.seconds)
    shape = np.abs(error - np.median(error))
    assert np.median(shape[m >= 128]) < 0.08


@pytest.mark.parametrize("table", gemm_tables(), ids=lambda table: table.gpu)
def test_the_model_predicts_what_the_fit_predicts(table: GemmTable):
    content = json.loads((FILES / f"{table.gpu}.json").read_text())["gemm"]["roofline"]
    kernel = table_model(table.gpu).gemm
    assert content == pytest.approx({name: getattr(kernel.roofline, name) for name in content})
    m, n, k = table.sizes
    expected = np.maximum(
        predicted_s(table, kernel.roofline, kernel.residual),
        gemm_flops(m, n, k) / table.rates.flops_per_s,
    )
    assert table_model(table.gpu).gemm_s(*table.sizes) == pytest.approx(expected, rel=1e-12)


# Out of sample


def test_pairs_never_seen_are_predicted_on_the_largest_rows():
    table = gemm_tables()[0]
    m, n, k = table.sizes
    table = table.rows((m >= 512) & (n >= 2048) & (k >= 2048))
    errors = held_out_log_errors(table, folds(table) == 0)
    found = summary(errors, np.zeros_like(errors))
    assert found.median < 0.04
    assert found.p90 < 0.15


def test_a_pair_of_sizes_is_held_out_as_a_whole():
    table = gemm_tables()[0]
    fold = folds(table)
    _, n, k = table.sizes
    by_pair: dict[tuple[float, float], set[int]] = {}
    for row in range(fold.size):
        by_pair.setdefault((n[row], k[row]), set()).add(int(fold[row]))
    assert all(len(found) == 1 for found in by_pair.values())
    assert np.bincount([found.pop() for found in by_pair.values()]).tolist() == [45, 45, 44, 44, 44]


def test_the_held_out_rows_do_not_reach_their_prediction():
    table = small()
    held_out = folds(table) == 0
    changed = replace(table, seconds=np.where(held_out, 1.0, table.seconds))
    ratio = held_out_log_errors(changed, held_out) - held_out_log_errors(table, held_out)
    assert ratio == pytest.approx(np.log(table.seconds[held_out]))


def test_errors_are_summarised_by_hand():
    found = summary(np.log([1.1, 0.9, 1.3, 1.0, 1.2]), np.full(5, np.log(1.1)))
    assert (found.count, found.median) == (5, 0.1)
    assert found.p90 == pytest.approx(0.26)
    assert found.log_sigma == pytest.approx(1.4826 * -np.log(0.9), abs=1e-5)
    assert found.level == pytest.approx(np.log(1.1), abs=1e-5)
    assert found.shape_median == pytest.approx(1.2 / 1.1 - 1, abs=1e-5)


def test_a_device_twice_as_slow_has_no_errors_of_shape():
    table = small()
    found = hold_outs(table, np.full(table.seconds.size, np.log(0.5)))["all"]
    assert (found.median, found.shape_median) == (0.5, 0)
    assert found.level == pytest.approx(np.log(0.5), abs=1e-5)


def test_every_device_has_a_level_of_its_own():
    one, other = (replace(small(), gpu=gpu) for gpu in ("a100-sxm-80gb", "l40s-48gb"))
    count = one.seconds.size
    errors = {one.gpu: np.full(count, 0.1), other.gpu: np.full(count, -0.3)}
    found = pooled([one, other], errors)["all"]
    assert (found.count, found.shape_median, found.shape_p90) == (2 * count, 0, 0)


def test_regions_without_rows_are_left_out():
    assert "large" not in small().regions


def test_a_table_of_few_pairs_holds_out_each_of_them():
    table = gemm_tables()[-1]
    assert np.bincount(folds(table)).tolist() == [76] * 4


# The fit


def test_the_search_finds_a_valley():
    target = np.array([0.3, -1.2, 2.0])
    found = pattern_search(lambda x: float(np.sum(np.abs(x - target))), np.zeros(3))
    assert found == pytest.approx(target, abs=0.05)


def test_a_roofline_is_recovered_from_its_own_times():
    table = small()
    truth = replace(table.start(21.0), launch_s=8e-6, overhead_64x128=0.3)
    table = replace(table, seconds=table.roofline_s(truth))
    error = np.abs(np.log(table.roofline_s(fit_roofline([table])) / table.seconds))
    assert np.median(error) < 0.03


def test_an_outlier_hardly_moves_its_neighbours():
    table = small()
    roofline = fit_roofline([table])
    clean = replace(table, seconds=table.roofline_s(roofline))
    spoilt = clean.seconds.copy()
    spoilt[100] *= 5
    residual = fit_residual(replace(clean, seconds=spoilt), roofline)
    assert np.max(np.abs(residual(*clean.place))) < 0.02


def test_the_correction_follows_what_neighbours_agree_on():
    table = small()
    roofline = fit_roofline([table])
    slower = replace(table, seconds=1.2 * table.roofline_s(roofline))
    found = fit_residual(slower, roofline)(*table.place)
    assert found == pytest.approx(np.full(found.size, np.log(1.2)), abs=0.02)


def test_a_rough_component_falls_at_once():
    axis = np.array([1.0, 2.0, 4.0])
    smooth, rough = Component(1.0, (1, 1, 1)), Component(1.0, (1, 1, 1), rough=True)
    assert smooth.correlation(axis, 2.0)[0] == pytest.approx(np.exp([0, -1 / 8, -1 / 2]))
    assert rough.correlation(axis, 2.0)[0] == pytest.approx(np.exp([0, -1 / 2, -1]))


def test_the_solver_solves_as_elimination_does():
    """With all points measured and noise alike: smoothing by the inverse of a dense matrix."""
    table = small()
    m, n, k = table.sizes
    few = table.rows((m <= 96) & (n <= 768) & (k <= 768) & ((n == 768) | (k == 768)))
    roofline = few.start(21.0)
    found = fit_residual(few, roofline)
    noise = few.noise_variance
    target = np.log(few.seconds / few.roofline_s(roofline))
    covariance = np.zeros((target.size, target.size))
    for c in few.components:
        places = zip(few.place, c.lengths, strict=True)
        covariance += c.variance * np.prod([c.correlation(p, ln) for p, ln in places], axis=0)
    per_row, weights = np.full(target.size, noise), target
    for _ in range(4):
        weights = np.linalg.solve(covariance + np.diag(per_row), target)
        per_row = noise * (1 + (per_row * weights) ** 2 / noise) / 2
    assert found(*few.place) == pytest.approx(covariance @ weights, abs=1e-3)


# Reading


def test_the_layers_give_products_and_no_other_kernel():
    m, n, k = gemm_tables()[-1].sizes
    assert set(zip(n, k, strict=True)) == {(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)}
    assert (m.min(), m.max(), m.size) == (1, 2032, 4 * 76)


def test_heads_of_another_size_are_not_read():
    assert all(np.all(table.sizes[3] == 128) for table in attention_tables())


def test_missing_columns_are_named(tmp_path: Path):
    path = tmp_path / "gemm.csv"
    path.write_text("gpu,m,n,latency_us\na100-sxm-80gb,1,1,1\n")
    with pytest.raises(ValueError, match=r"must have the columns \['k'\]"):
        read_gemm(path)


def test_unknown_devices_are_refused(tmp_path: Path):
    path = tmp_path / "gemm.csv"
    path.write_text("gpu,m,n,k,latency_us\nb200,1,1,1,1\n")
    with pytest.raises(ValueError, match="must name devices of"):
        read_gemm(path)


def test_the_command_refuses_to_write_one_device():
    with pytest.raises(ValueError, match="--device must come with --check"):
        Config(device="l40s-48gb")


def test_the_command_refuses_a_folder_without_tables(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        main(Config(check=True, tables=tmp_path))
