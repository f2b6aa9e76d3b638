"""Ranks leave what one process leaves, or stop: real processes, on sockets."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import pytest

from tests.families import build
from tests.thorough import THOROUGH
from tests.zo2rt.engine.engine_cases import CASES
from tests.zo2rt.engine.engine_runs import recipe
from tests.zo2rt.exchange.company import Company, company
from tests.zo2rt.exchange.rank_jobs import (
    AWAKE,
    Task,
    alone,
    cores,
    dawdle,
    differ,
    digests,
    nan_on_rank,
    raise_on_rank,
    train,
)
from zo2rt.exchange import RankGone, RanksDiffer
from zo2rt.optimizer import Estimator
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

SAMPLED = range(16) if THOROUGH else (0, 2, 5, 12)
"""Of what is drawn: ``zo2`` and ``host_update``, both tiers and formats, two ranks and four."""
HOW = recipe(samples=2, microbatches=2)


@pytest.fixture(scope="module")
def ranks() -> Iterator[Company]:
    with company(4) as four:
        yield four


def drawn(random: Random) -> tuple[int, Plan, Recipe]:
    """How many ranks, and what they are told: any mix that can be journalled."""
    fit = [c for name, c in CASES.items() if "in place" not in name and c.plan.devices == 1]
    plan = random.choice(fit).plan
    samples, microbatches = random.randint(1, 3), random.randint(1, 3)
    dtype = random.choice([Dtype.FP32, Dtype.FP32, Dtype.BF16])
    size = random.randint(2, min(4, 2 * samples * microbatches))
    noise = random.choice(["gaussian", "rademacher"])
    return size, plan, recipe(dtype, samples=samples, microbatches=microbatches, noise=noise)


@pytest.mark.parametrize("number", SAMPLED)
def test_ranks_leave_the_files_and_weights_of_one_process(
    number: int, ranks: Company, tmp_path: Path
):
    size, plan, how = drawn(Random(number))
    task = Task(plan, how, tmp_path / "one")
    one = alone(task)
    assert ranks.does(train, task.within(tmp_path / "all"), size=size) == [one] * size
    assert digests(tmp_path / "all") == digests(tmp_path / "one")


def test_in_place_every_rank_shifts_its_weights_as_one_process_does(ranks: Company):
    task = Task(Plan(), recipe(perturbation="in_place", microbatches=2), None)
    assert ranks.does(train, task) == [alone(task)] * 4


def test_mezo_s_own_noise_is_drawn_on_every_rank(ranks: Company):
    task = Task(Plan(policy=Policy.RESIDENT), recipe(noise="torch", microbatches=2), None)
    assert ranks.does(train, task, size=3) == [alone(task)] * 3


def test_any_number_of_ranks_goes_on(ranks: Company, tmp_path: Path):
    task = Task(Plan(write_back_every=2), HOW, tmp_path, steps=7)
    whole = alone(task.within(tmp_path / "whole"))
    run = task.within(tmp_path / "run")
    for steps, size in ((2, 3), (3, 2), (5, 4)):
        ranks.does(train, replace(run, steps=steps), size=size)
    assert alone(run) == whole
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_a_rank_that_sees_no_folder_catches_up_from_the_records(ranks: Company, tmp_path: Path):
    task = Task(Plan(), HOW, tmp_path / "run", steps=5)
    alone(task)
    longer = replace(task, steps=7)
    whole = alone(longer.within(tmp_path / "whole"))
    assert ranks.does(train, longer, 3, True, size=3) == [whole] * 3


def test_ranks_read_their_model_by_shard_and_go_on_from_its_files(ranks: Company, tmp_path: Path):
    files: Any = build("opt")
    files.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    task = Task(Plan(), HOW, tmp_path / "run", files=tmp_path / "model")
    whole = alone(replace(task, folder=None, files=None))
    ranks.does(train, replace(task, steps=2), size=3)
    (base,) = (tmp_path / "run" / "snapshots").iterdir()
    assert [path.name for path in base.iterdir()] == ["manifest.json"]
    ranks.does(train, replace(task, steps=3), 5, size=2)
    assert ranks.does(train, task, 5, True, size=3) == [whole] * 3


def test_a_nan_on_one_rank_skips_the_step_on_all(ranks: Company, tmp_path: Path):
    task = Task(Plan(), recipe(microbatches=2), tmp_path)
    found = ranks.does(nan_on_rank, task, 1, size=3)
    assert found[0] == found[1] == found[2]
    lines = (tmp_path / "journal.jsonl").read_text()
    assert lines.count('"skipped":true') + lines.count('"skipped":false') == 1  # since step 3
    archived = next(tmp_path.glob("journal-*")).read_text()
    assert archived.count('"skipped":true') == 1


def test_what_a_lane_raises_undoes_the_step_on_every_rank(ranks: Company, tmp_path: Path):
    task = Task(Plan(), recipe(microbatches=2), tmp_path)
    whole = alone(replace(task, folder=None))
    found = ranks.does(raise_on_rank, task, 1, size=2)
    assert found[0] == (
        "OtherRankError(\"a lane of rank 1 raised KeyError('no such label')\")",
        whole,
    )
    assert found[1] == ("KeyError('no such label')", whole)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("lr", "records of rank 0, and since step 2 they have not"),
        ("seed", "records of rank 0, and since step 2 they have not"),
        ("batch", r"step 2: all ranks must be given the same batch.*no DistributedSampler"),
        ("evaluate", r"rank 0: a step, after 2 steps, rank 1: evaluate, after 2 steps"),
    ],
)
def test_ranks_that_differ_stop_and_name_the_step(
    what: str, message: str, ranks: Company, tmp_path: Path
):
    found = ranks.answers(differ, Task(Plan(), HOW, tmp_path), what, size=2)
    for error in found:
        with pytest.raises(RanksDiffer, match=message):
            raise error


@pytest.mark.parametrize(
    ("folder", "advice"),
    [(True, "start again with any number of ranks to go on from step 2"), (False, "no folder")],
)
def test_a_rank_that_ends_is_named(folder: bool, advice: str, ranks: Company, tmp_path: Path):
    task = Task(Plan(), HOW, tmp_path if folder else None)
    first, second, third = ranks.answers(differ, task, "raise", size=3)
    assert str(second) == "of the user's own code"
    for error in (first, third):
        with pytest.raises(RankGone, match=f"rank 1 is gone; .*{advice}"):
            raise error


def test_a_rank_that_hangs_is_named_when_time_is_up(ranks: Company, tmp_path: Path):
    ranks.start(differ, Task(Plan(), HOW, tmp_path / "run"), "hang", size=2)
    with pytest.raises(RankGone, match=r"rank 1 is gone; .* from step 2 \(no answer in"):
        raise ranks.answer(0)
    assert not ranks.has_answered(1), "nobody waits for a rank that hangs"
    (tmp_path / AWAKE).touch()
    assert isinstance(ranks.answer(1), RankGone)


def test_other_weights_are_refused_before_a_step(ranks: Company):
    for error in ranks.answers(differ, Task(Plan(), HOW, None), "weights", size=2):
        with pytest.raises(ValueError, match="every rank must have rank 0's weights"):
            raise error


def test_other_settings_are_refused_before_a_step(ranks: Company, tmp_path: Path):
    for error in ranks.answers(differ, Task(Plan(), HOW, tmp_path), "rule", size=2):
        with pytest.raises(ValueError, match="rank 1 beside rank 0: the run must be"):
            raise error


def test_who_is_done_leaves_with_the_others(ranks: Company):
    """A connection that is closed early may break a call that another rank is still in."""
    start_s = perf_counter()
    ranks.start(dawdle, 0.2, size=2)
    assert ranks.answer(1) is None
    assert perf_counter() - start_s > 0.2
    assert ranks.answer(0) is None


@pytest.mark.skipif(sys.platform != "linux", reason="cores are dealt on Linux")
def test_each_rank_has_cores_of_its_own(ranks: Company):
    own = os.sched_getaffinity(0)
    one, other = ranks.does(cores, size=2)
    if len(own) >= 2:
        assert one | other <= own
        assert one & other == set()
        assert len(one) == len(other) == len(own) // 2


def test_a_run_that_is_another_ends_all_ranks(ranks: Company, tmp_path: Path):
    task = Task(Plan(), HOW, tmp_path)
    alone(task)
    other = replace(task, optimizer=replace(task.optimizer, estimator=Estimator(rule="sign")))
    first, second = ranks.answers(train, other, size=2)
    with pytest.raises(ValueError, match="must be the one that the journal was written by"):
        raise first
    with pytest.raises(ConnectionError, match="rank 0 could not begin the run"):
        raise second
