"""Run jobs that are not finished yet, on any executor, with a progress bar."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import Any

from experiments.job import Job, answer
from experiments.progress import progress_bar
from experiments.store import Store


def run_jobs(jobs: Sequence[Job], store: Store, *, workers: int | None = None) -> None:
    """Answer every job that ``store`` lacks; equal questions are asked once.

    ``workers`` 1 stays in this process; None takes every core.
    """
    missing = list({job.key: job for job in jobs if job.key not in store.answers}.values())
    count = min(workers or os.cpu_count() or 1, max(1, len(missing)))
    with progress_bar() as progress:
        task = progress.add_task("predicting", total=len(missing))
        for key, result in _results(missing, count):
            store.add(key, result)
            progress.advance(task)


def _results(jobs: Sequence[Job], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if workers == 1:
        yield from ((job.key, answer(job)) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        yield from _as_they_come(jobs, executor)


def _as_they_come(jobs: Sequence[Job], executor: Executor) -> Iterator[tuple[str, dict[str, Any]]]:
    futures = {executor.submit(answer, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            yield futures[future].key, future.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
