"""Who answers the jobs of a sweep: this process, a pool of processes, or a dask cluster.

All are executors in the sense of `concurrent.futures`, and the answers are the same whoever
finds them.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

_AHEAD = 3  # batches per worker that run or wait
_CONNECT_S = 20.0

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Opens an executor, again where its workers were lost; asks ``num_batches`` at a time."""

    open: Callable[[], AbstractContextManager[Executor]]
    num_workers: int

    @property
    def num_batches(self) -> int:
        """Batches that are on their way at once; one process keeps each before the next."""
        return 1 if self.num_workers == 1 else _AHEAD * self.num_workers


def chosen(*, jobs: int | None, scheduler: str | None, most: int) -> Crew:
    """The crew that a command line asks for; ``most`` is the number of questions.

    Raises ``ValueError`` where both are given or a number makes no sense, and ``OSError`` where
    no scheduler answers.
    """
    if scheduler is not None:
        if jobs is not None:
            raise ValueError("give --jobs or --scheduler, not both: its workers do the work")
        return cluster(scheduler)
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs must be >= 1; got {jobs}")
    count = min(jobs or os.cpu_count() or 1, max(1, most))
    return here() if count == 1 else processes(count)


def here() -> Crew:
    """This process."""
    return Crew(open=_Here, num_workers=1)


def processes(count: int) -> Crew:
    """A pool of that many fresh processes."""
    return Crew(open=partial(_processes, count), num_workers=count)


def cluster(address: str) -> Crew:
    """The workers of a dask scheduler; each needs this project installed, at the same commit.

    Raises ``ValueError`` where dask is not installed or no worker is there, ``OSError`` where no
    scheduler answers.
    """
    with _client(address) as client:
        num_workers = sum(client.nthreads().values())
    if num_workers == 0:
        raise ValueError(
            f"the scheduler at {address} must have workers; start some with "
            f"'dask worker --nthreads 1 {address}'"
        )
    return Crew(open=partial(_cluster, address), num_workers=num_workers)


class _Here(Executor):
    """Answers at once, in the caller's process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    executor = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    """The scheduler gives what a lost worker had to another one, until a job has killed several."""
    from distributed import KilledWorker

    with _client(address) as client:
        try:
            yield client.get_executor(pure=False)
        except KilledWorker as error:
            raise BrokenExecutor(str(error)) from error


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "--scheduler needs dask.distributed; install 'zo2sim[scale]', or use --jobs"
        ) from None
    try:
        return Client(address, timeout=_CONNECT_S)
    except OSError as error:
        raise ConnectionError(f"no dask scheduler answers at {address}: {error}") from None
