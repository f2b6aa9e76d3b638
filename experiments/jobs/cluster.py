"""The workers of a dask scheduler, as a crew."""

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from functools import partial
from typing import Any

from experiments.jobs.workers import Crew

_CONNECT_S = 20.0


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
