"""Fitting kernel times: on synthetic truth, against the committed files, and out of sample."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from analysis.fits.kernels.file import FittedKernel, file_text, fit_kernel
from analysis.fits.kernels.fit import fit_residual, fit_roofline, pattern_search, predicted_s
from analysis.fits.kernels.table import AttentionTable, GemmTable, read_attention, read_gemm
from analysis.fits.kernels.validation import (
    device_log_errors,
    folds,
    held_out_log_errors,
    hold_outs,
    pooled,
    shape_log_errors,
    summary,
)
from experiments.fit_kernels import BOUNDS, FILES, TABLES, Config, main
from zo2sim.cost.kernels import table_model
from zo2sim.cost.kernels.model import HoldOut


@cache
def gemm_tables() -> list[GemmTable]:
    return read_gemm(TABLES / "gemm_bf16.csv")


@cache
def attention_tables() -> list[AttentionTable]:
    return read_attention(TABLES / "attention_prefill_bf16.csv")


def small() -> GemmTable:
    """The rows of one device with n and k up to 2048."""
    table = gemm_tables()[0]
    _, n, k = table.sizes
    return table.rows((n <= 2048) & (k <= 2048))


def committed_errors(kind: str, gpu: str) -> dict[str, HoldOut]:
    return dict(getattr(table_model(gpu), kind).errors)


# The committed files


@pytest.mark.parametrize("index", range(3))
def test_a_refit_gives_the_committed_file_byte_for_byte(index: int):
    """Errors of products are as committed: the command's --check recomputes them too."""
    gemm, attention = gemm_tables()[index], attention_tables()[index]
    text = file_text(
        gemm.gpu,
        gemm.rates,
        fit_kernel(gemm, committed_errors("gemm", gemm.gpu)),
        fit_kernel(attention, hold_outs(attention, shape_log_errors(attention))),
    )
    assert text.encode() == (FILES / f"{gemm.gpu}.json").read_bytes()


def test_a_refit_gives_the_committed_class_byte_for_byte():
    kernels = [
        FittedKernel(fit_roofline(tables), None, pooled(tables, device_log_errors(tables)))
        for tables in (gemm_tables(), attention_tables())
    ]
    assert file_text("class", None, *kernels).encode() == (FILES / "class.json").read_bytes()


@pytest.mark.parametrize("table", gemm_tables(), ids=lambda table: table.gpu)
def test_the_model_predicts_what_the_fit_predicts(table: GemmTable):
    content = json.loads((FILES / f"{table.gpu}.json").read_text())["gemm"]["roofline"]
    kernel = table_model(table.gpu).gemm
    assert content == pytest.approx({name: getattr(kernel.roofline, name) for name in content})
    expected = predicted_s(table, kernel.roofline, kernel.residual)
    assert table_model(table.gpu).gemm_s(*table.sizes) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("kind", "region"), BOUNDS)
def test_committed_errors_keep_the_promise(kind: str, region: str):
    median, p90 = BOUNDS[kind, region]
    errors = [committed_errors(kind, table.gpu)[region] for table in gemm_tables()]
    assert np.mean([e.median for e in errors]) < median
    assert np.mean([e.p90 for e in errors]) < p90


# Out of sample


def test_pairs_never_seen_are_predicted_on_the_largest_rows():
    table = gemm_tables()[0]
    m, n, k = table.sizes
    table = table.rows((m >= 512) & (n >= 2048) & (k >= 2048))
    found = summary(held_out_log_errors(table, folds(table) == 0))
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
    found = summary(np.log([1.1, 0.9, 1.3, 1.0, 1.2]))
    assert (found.count, found.median) == (5, 0.1)
    assert found.p90 == pytest.approx(0.26)
    assert found.log_sigma == pytest.approx(1.4826 * -np.log(0.9), abs=1e-5)


# The fit


def test_the_search_finds_a_valley():
    target = np.array([0.3, -1.2, 2.0])
    found = pattern_search(lambda x: float(np.sum(np.abs(x - target))), np.zeros(3))
    assert found == pytest.approx(target, abs=0.05)


def test_a_roofline_is_recovered_from_its_own_times():
    table = small()
    truth = replace(table.start(21.0), launch_s=8e-6, split_overhead=0.3)
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


# Reading


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


def test_the_command_refuses_a_folder_without_tables(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        main(Config(check=True, tables=tmp_path))
