"""Run the jobs that are not finished yet, on any executor, with a progress bar.

Jobs travel in small batches, and only a few batches at a time: a sweep of any length needs the
memory of a short one. What was lost with a worker is asked again.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from experiments.folder.provenance import code_version
from experiments.jobs.answers import Answers
from experiments.jobs.job import Job, answer
from experiments.jobs.workers import Crew
from experiments.screen import progress_bar

_MOST_TOGETHER = 8  # jobs in a batch: large ones take about a second
_ROUNDS = 4  # batches that each worker gets at least, where there are enough jobs
_MOST_BREAKS = 3  # in a row, without an answer in between

Batch = tuple[Job, ...]


def run_jobs(jobs: Iterable[Job], store: Answers, crew: Crew, *, total: int) -> None:
    """Answer every job that ``store`` lacks; equal questions are asked once.

    ``jobs`` is read as workers become free; ``total`` is how many there are. Raises ``ValueError``
    where a job cannot be answered or a worker runs other code, and ``ChildProcessError`` where
    workers keep dying; every answer until then is kept.
    """
    together = max(1, min(_MOST_TOGETHER, total // (_ROUNDS * crew.num_workers)))
    with progress_bar() as progress:
        task = progress.add_task("predicting", total=total)
        work = _Work(jobs, store, together, lambda count: progress.advance(task, count))
        breaks = 0
        while work.has_more:
            before = len(store)
            try:
                with crew.open() as executor:
                    work.run(executor, most=crew.num_batches)
            except BrokenExecutor as error:
                breaks = breaks + 1 if len(store) == before else 1
                if breaks == _MOST_BREAKS:
                    raise ChildProcessError(
                        f"workers died {breaks} times in a row ({error}): is there enough memory "
                        "for that many? Start again with the same --out to go on"
                    ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A batch's answers by key, and the code of the worker that found them."""

    code: str
    answers: dict[str, dict[str, Any]]


def answer_all(jobs: Batch) -> Answered:
    """What a worker does with a batch."""
    return Answered(code=code_version(), answers={job.key: answer(job) for job in jobs})


class _Work:
    """What is left to ask: jobs not looked at, batches that wait, batches on their way."""

    def __init__(
        self, jobs: Iterable[Job], store: Answers, together: int, advance: Callable[[int], None]
    ) -> None:
        self._store = store
        self._together = together
        self._advance = advance
        self._on_way: set[str] = set()
        self._missing = self._not_answered(jobs)
        self._waiting: list[Batch] = []
        self._pending: dict[Future[Answered], Batch] = {}

    @property
    def has_more(self) -> bool:
        """Whether a batch waits; takes one from the jobs where none does."""
        if not self._waiting:
            batch = tuple(islice(self._missing, self._together))
            self._waiting += [batch] if batch else []
        return bool(self._waiting)

    def run(self, executor: Executor, *, most: int) -> None:
        """Ask everything, ``most`` batches at a time; what a lost worker had waits again."""
        try:
            while self._fill(executor, most):
                finished, _ = wait(self._pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    self._keep(future.result(), self._pending[future])
                    del self._pending[future]
        except BrokenExecutor:
            self._waiting += self._pending.values()
            self._pending.clear()
            raise

    def _fill(self, executor: Executor, most: int) -> bool:
        while len(self._pending) < most and self.has_more:
            future = executor.submit(answer_all, self._waiting[-1])
            self._pending[future] = self._waiting.pop()
        return bool(self._pending)

    def _keep(self, answered: Answered, batch: Batch) -> None:
        if answered.code != code_version():
            raise ValueError(
                f"workers must run the same code and data as this process; one runs "
                f"{answered.code}, this is {code_version()}: update it and start again"
            )
        for job in batch:
            if job.key not in answered.answers:
                raise ValueError(
                    f"a worker must see the same files; {job.spec.model} or {job.spec.machine} "
                    "has another content there: use a folder that all of them share"
                )
            self._store.add(job.key, answered.answers[job.key])
            self._on_way.discard(job.key)
        self._advance(len(batch))

    def _not_answered(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            if job.key in self._store or job.key in self._on_way:
                self._advance(1)
            else:
                self._on_way.add(job.key)
                yield job
