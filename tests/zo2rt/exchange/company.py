"""Real processes as ranks: started once, and given one thing after another to do together."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch

from tests.forked import limited, patient, server
from zo2rt.exchange import Patience, beside

Job = Callable[..., Any]
"""What a rank does: given its exchange and arguments, it returns what can be sent."""

_ANSWER_S = 120.0
IMPATIENT = Patience(least_s=2.0, once_s=60.0)


def _main(rank: int, folder: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    patient()
    while (asked := pipe.recv()) is not None:
        limited()
        number, size, job, arguments = asked
        try:
            with beside(Path(folder) / f"store-{number}", rank, size, IMPATIENT) as exchange:
                found: Any = job(exchange, *arguments)
        except Exception as error:
            found = error
        pipe.send(found)
        patient()


class Company:
    """``size`` ranks."""

    def __init__(self, size: int, folder: Path) -> None:
        self.size = size
        own = mkdtemp(dir=folder)  # a store of its own, too
        self._number = count()
        self._pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for rank in range(size):
            ours, theirs = multiprocessing.Pipe()
            process = server().Process(target=_main, args=(rank, own, theirs))
            process.start()
            self._pipes.append(ours)
            self.processes.append(process)

    def start(self, job: Job, *arguments: Any, size: int | None = None) -> int:
        """All ranks, or the first ``size``, begin with it in a group of their own; how many."""
        number, size = next(self._number), self.size if size is None else size
        for pipe in self._pipes[:size]:
            pipe.send((number, size, job, arguments))
        return size

    def has_answered(self, rank: int) -> bool:
        """Whether `answer` would not wait."""
        return self._pipes[rank].poll()

    def answer(self, rank: int) -> Any:
        """What it returned, or the error that it raised."""
        assert self._pipes[rank].poll(_ANSWER_S), f"rank {rank} does not answer"
        return self._pipes[rank].recv()

    def does(self, job: Job, *arguments: Any, size: int | None = None) -> list[Any]:
        """What every rank returned. Raises the first error of a rank."""
        found = self.answers(job, *arguments, size=size)
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found

    def answers(self, job: Job, *arguments: Any, size: int | None = None) -> list[Any]:
        """The same, errors as they are."""
        return [self.answer(rank) for rank in range(self.start(job, *arguments, size=size))]

    def kill(self, rank: int) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


@contextmanager
def company(size: int) -> Iterator[Company]:
    with TemporaryDirectory() as folder:
        ranks = Company(size, Path(folder))
        try:
            yield ranks
        finally:
            ranks.close()
