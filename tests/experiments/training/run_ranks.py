"""The command `run` as a rank, in a process that torchrun might have started."""

import contextlib
import io
import os
import socket

from experiments import run
from experiments.cli import run as command
from tests.experiments.training.undrawn import undraw
from zo2rt.exchange import Exchange


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def runs(exchange: Exchange, port: int, flags: tuple[str, ...]) -> tuple[int, str, str]:
    """Exit code, and what it wrote to stdout and stderr."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    who = {"RANK": str(exchange.rank), "WORLD_SIZE": str(exchange.size)}
    out, err, cores = io.StringIO(), io.StringIO(), os.sched_getaffinity(0)
    os.environ.update(where | who)
    undraw()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command(run.main, run.Config, flags)
    finally:
        for name in (*where, *who):
            del os.environ[name]
        os.sched_setaffinity(0, cores)
    return code, out.getvalue(), err.getvalue()
