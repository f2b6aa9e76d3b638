"""Who answers many jobs: this process, or a pool of processes; `cluster` has others to ask.

All are executors in the sense of `concurrent.futures`, and the answers are the same whoever
finds them.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

_AHEAD = 3  # batches per worker that run or wait

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


def chosen(*, jobs: int | None, most: int) -> Crew:
    """One process per core, or as many as asked for; ``most`` is the number of questions.

    Raises ``ValueError`` where the number makes no sense.
    """
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
