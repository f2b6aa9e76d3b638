"""`bench --ranks`: real processes on a workload that takes no time."""

import json
import os
from dataclasses import replace

import pytest

from experiments import bench
from experiments.speed import ranks as ranks_speed
from tests.calibrated import referenced_host
from tests.commands import call
from tests.experiments.speed.test_runtime import TINY
from tests.forked import server

several = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@several
def test_ranks_are_measured_in_turn_with_one_process_and_beside_their_prediction():
    found = {
        figure.name: figure.spread
        for figure in ranks_speed.figures(
            TINY, 2, pairs=2, machine=referenced_host(), context=server()
        )
    }
    alone, together = found["alone_step_s"], found["ranks_step_s"]
    assert found["ranks_speed_up"].values == alone.over(together).values
    assert len(alone.values) == len(found["exchange_ms"].values) == 2
    predicted = found["predicted_alone_step_s"].median / found["predicted_ranks_step_s"].median
    assert 1.0 < found["predicted_speed_up"].median == predicted < 2.0
    error = found["speed_up_error_percent"].median
    assert error == pytest.approx(100 * (predicted / found["ranks_speed_up"].median - 1))


@several
def test_a_rank_that_fails_ends_the_measurement():
    broken = replace(TINY, config={})
    with pytest.raises(RuntimeError, match=r"rank \d ended"):
        ranks_speed.figures(broken, 2, pairs=1, machine=None, context=server())


@pytest.mark.parametrize("ranks", [1, 1000])
def test_every_rank_has_a_core_of_its_own(ranks: int):
    done = call(bench, "--ranks", str(ranks))
    assert done.code == 2
    assert f"as every rank has a core of its own here; got {ranks}" in done.complaint


def test_the_command_measures_what_it_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        ranks_speed,
        "figures",
        lambda spec, ranks, **given: [
            ranks_speed.Figure("ranks_speed_up", ranks_speed.Spread.of([ranks, given["pairs"]]))
        ],
    )
    done = call(bench, "--ranks", "2", "--pairs", "3", "--json", "-")
    assert json.loads(done.out)["ranks_speed_up_high"] == 3


def test_flags_of_the_others_are_refused():
    for flags in (["--ranks", "2", "--runtime"], ["--machine", "this-host"]):
        assert call(bench, *flags).code == 2
