"""Who answers a sweep changes nothing: processes, a dask cluster, interruptions, lost workers."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import experiments.jobs.pool
from experiments import sweep
from experiments.case.axes import parse_axes
from experiments.case.spec import Spec
from experiments.jobs import cluster as dask
from experiments.jobs import workers as crew
from experiments.jobs.answers import Answers
from experiments.jobs.grid import expand
from experiments.jobs.job import Job
from experiments.jobs.pool import Answered, run_jobs
from experiments.jobs.workers import Crew
from tests import ROOT
from tests.commands import Outcome, call
from tests.experiments.jobs.dying_worker import FLAG, die_once
from tests.thorough import THOROUGH
from zo2sim.plan.choices import Plan, Recipe

AXES = ("model=opt-125m", "num-slots=1,2", "batch=1,2,3", "scratch-copies=1,2")
FILES = ("records.parquet", "records.csv", "summary.json", "config.json")
CASE = Job(
    question="grid",
    label="zo2",
    spec=Spec(model="opt-125m", machine="a100-pcie-80gb", plan=Plan(), recipe=Recipe()),
)

undisturbed = pytest.mark.skipif(not THOROUGH, reason="others have the same of which one dies")


def sweep_grid(out: Path, *arguments: str) -> Outcome:
    axes = [word for axis in AXES for word in ("--axis", axis)]
    words = ("--preset", "none", "--no-report", "--out", str(out))
    return call(sweep, *words, *axes, *arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The sweep in one process."""
    folder = tmp_path_factory.mktemp("whole")
    assert sweep_grid(folder, "--jobs", "1").code == 0
    return contents(folder)


@dataclass
class Cluster:
    """A scheduler and two workers, each a process of its own."""

    address: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list["subprocess.Popen[bytes]"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    from dask import config
    from distributed import LocalCluster

    # A scheduler that has not seen a worker die looks for it 30 s long.
    impatient: Any = config.set({"distributed.comm.timeouts.connect": "3s"})
    local: Any = LocalCluster(n_workers=0, processes=True, dashboard_address=":0")
    with impatient, local as scheduler:
        found = Cluster(scheduler.scheduler_address)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", found.address]
        flags = ["--nthreads", "1", "--no-dashboard", "--no-nanny"]
        for _ in range(2):
            found.workers.append(
                subprocess.Popen([*command, *flags], cwd=ROOT, stderr=subprocess.DEVNULL)
            )
        scheduler.wait_for_workers(2, timeout=60)
        yield found
        for worker in found.workers:
            worker.terminate()
            worker.wait(timeout=20)


@undisturbed
def test_a_pool_of_processes_gives_the_same_bytes(whole: dict[str, bytes], tmp_path: Path):
    assert sweep_grid(tmp_path, "--jobs", "2").code == 0
    assert contents(tmp_path) == whole


def test_an_interrupted_sweep_gives_the_same_bytes(whole: dict[str, bytes], tmp_path: Path):
    """A kill in the middle of a line, after five answers that came in another order."""
    sweep_grid(tmp_path, "--jobs", "1")
    answers = tmp_path / "answers.jsonl"
    lines = answers.read_text().splitlines(keepends=True)
    answers.write_text("".join([*reversed(lines[:5]), lines[7][:50]]))
    for name in FILES:
        (tmp_path / name).unlink()
    assert sweep_grid(tmp_path, "--jobs", "1").code == 0
    assert contents(tmp_path) == whole


@undisturbed
def test_two_workers_of_a_dask_cluster_give_the_same_bytes(
    whole: dict[str, bytes], cluster: Cluster, tmp_path: Path
):
    assert sweep_grid(tmp_path, "--scheduler", cluster.address).code == 0
    assert contents(tmp_path) == whole


def test_a_worker_that_dies_loses_no_row(
    whole: dict[str, bytes], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One of two dask workers is killed as soon as the first answer is there."""
    add = Answers.add

    def kill_one(store: Answers, key: str, answer: dict[str, object]) -> None:
        add(store, key, answer)
        if len(cluster.workers) == 2:
            worker = cluster.workers.pop()
            worker.send_signal(signal.SIGKILL)
            worker.wait(timeout=20)

    monkeypatch.setattr(Answers, "add", kill_one)
    assert sweep_grid(tmp_path, "--scheduler", cluster.address).code == 0
    assert len(cluster.workers) == 1
    assert contents(tmp_path) == whole


def test_a_process_that_dies_loses_no_row(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One of the pool's processes exits in the middle of a batch, once."""
    monkeypatch.setenv(FLAG, str(tmp_path / "died"))
    monkeypatch.setattr(experiments.jobs.pool, "answer_all", die_once)
    assert sweep_grid(tmp_path / "run", "--jobs", "2").code == 0
    assert (tmp_path / "died").exists()
    assert contents(tmp_path / "run") == whole


# Any executor


def some_jobs(count: int) -> list[Job]:
    return list(expand([CASE], parse_axes([f"batch={','.join(map(str, range(1, count + 1)))}"])))


def quick(job: Job) -> dict[str, object]:
    return {"step_s": float(job.spec.recipe.batch)}


def answered(jobs: list[Job], store: Answers, with_crew: Crew) -> dict[str, dict[str, object]]:
    run_jobs(iter(jobs), store, with_crew, total=len(jobs))
    return dict(store)


@contextmanager
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_threads_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(experiments.jobs.pool, "answer", quick)
    jobs = some_jobs(50)
    with Answers(tmp_path / "a.jsonl") as store:
        found = answered(jobs, store, Crew(open=threads, num_workers=2))
    assert found == {job.key: quick(job) for job in jobs}


def test_only_a_few_jobs_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of ten thousand, never more than what is on its way to two workers."""
    monkeypatch.setattr(experiments.jobs.pool, "answer", quick)
    with Answers(tmp_path / "a.jsonl") as store:
        ahead: list[int] = []

        def watched() -> Iterator[Job]:
            for number, job in enumerate(some_jobs(500)):
                ahead.append(number - len(store))
                yield job

        run_jobs(watched(), store, Crew(open=threads, num_workers=2), total=500)
        assert len(store) == 500
    assert max(ahead) <= 2 * 3 * 8


def test_workers_that_keep_dying_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(batch: tuple[Job, ...]) -> Answered:
        raise BrokenProcessPool("killed")

    monkeypatch.setattr(experiments.jobs.pool, "answer_all", killed)
    with (
        Answers(tmp_path / "a.jsonl") as store,
        pytest.raises(ChildProcessError, match=r"died 3 times in a row \(killed\).*same --out"),
    ):
        run_jobs(some_jobs(3), store, Crew(open=threads, num_workers=2), total=3)


def test_a_worker_of_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        experiments.jobs.pool, "answer_all", lambda batch: Answered(code="old", answers={})
    )
    with (
        Answers(tmp_path / "a.jsonl") as store,
        pytest.raises(ValueError, match="one runs old, this is"),
    ):
        run_jobs(some_jobs(1), store, crew.here(), total=1)


def test_a_worker_that_sees_other_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def other(batch: tuple[Job, ...]) -> Answered:
        return Answered(code=experiments.jobs.pool.code_version(), answers={"predict-0": {}})

    monkeypatch.setattr(experiments.jobs.pool, "answer_all", other)
    with (
        Answers(tmp_path / "a.jsonl") as store,
        pytest.raises(ValueError, match="must see the same files; opt-125m"),
    ):
        run_jobs(some_jobs(1), store, crew.here(), total=1)


# Wrong usage


def test_processes_and_a_scheduler_are_not_mixed(tmp_path: Path):
    outcome = sweep_grid(tmp_path, "--jobs", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert (outcome.code, "give --jobs or --scheduler" in outcome.complaint) == (2, True)


def test_a_scheduler_without_workers_is_named():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(ValueError, match=r"must have workers; start some with 'dask worker"),
    ):
        dask.cluster(empty.scheduler_address)
