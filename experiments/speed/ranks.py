"""How much faster a step is on several ranks of this machine, with a core each.

The parent asks and waits; every rank is a process that answers. Rank 0 runs the step alone, too, on
its own core, so that both are measured in turn on the same cores.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from experiments.campaign.recorded_run import case_of
from experiments.speed.runtime import Figure, spreads, step_s
from zo2rt.exchange import Exchange, beside
from zo2rt.measure.runs import RunSpec, opened
from zo2rt.measure.spread import Spread
from zo2sim.machines.machine import Machine
from zo2sim.predict.own_lanes import ranks_step

_EXCHANGES = 200
_MESSAGE_BYTES = 64
"""The losses of a step's lanes and a digest are 48."""
_ANSWER_S = 300.0

Ask = Callable[[str], list[float]]
"""What every rank answers to the name of a measure; ``alone`` is rank 0's only."""


def figures(
    spec: RunSpec,
    ranks: int,
    *,
    pairs: int,
    machine: Machine | None,
    context: BaseContext | None = None,
) -> list[Figure]:
    """A step of one process and of ``ranks``, measured in turn; and as predicted for a machine.

    ``context`` starts the processes; None: each is a new interpreter.
    """
    context = multiprocessing.get_context("spawn") if context is None else context
    cores = sorted(os.sched_getaffinity(0))
    if not 2 <= ranks <= len(cores):
        raise ValueError(
            f"--ranks must be 2 to {len(cores)}, as every rank has a core of its own here; "
            f"got {ranks}"
        )
    with _started(spec, cores[:ranks], context) as ask:
        found = spreads(
            {
                "alone": lambda: ask("alone")[0],
                "together": lambda: max(ask("together")),
                "exchange": lambda: max(ask("exchange")),
            },
            pairs,
        )
    wanted = () if machine is None else _predicted(spec, ranks, machine, found)
    return [
        Figure("ranks_speed_up", found["alone"].over(found["together"])),
        *wanted,
        Figure("exchange_ms", found["exchange"].times(1e3), "<= 1"),
        Figure("alone_step_s", found["alone"]),
        Figure("ranks_step_s", found["together"]),
    ]


def _predicted(
    spec: RunSpec, ranks: int, machine: Machine, found: Mapping[str, Spread]
) -> Iterator[Figure]:
    step = ranks_step(case_of(spec, machine), ranks)
    for name, value in (
        ("predicted_speed_up", step.speed_up),
        ("predicted_alone_step_s", step.alone_s),
        ("predicted_ranks_step_s", step.step_s),
    ):
        yield Figure(name, Spread.of([value]))
    points = 100.0 * (step.speed_up / found["alone"].over(found["together"]).median - 1.0)
    yield Figure("speed_up_error_percent", Spread.of([points]), "-5 to 5")


@contextmanager
def _started(spec: RunSpec, cores: Sequence[int], context: Any) -> Iterator[Ask]:
    """Ranks that are ready; they end with the block."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        pipes: list[Connection] = []
        for rank, core in enumerate(cores):
            ours, theirs = context.Pipe()
            where = (rank, len(cores), core)
            process = context.Process(target=_serve, args=(theirs, spec, where, folder))
            process.start()
            theirs.close()  # so that its end is seen here
            stack.callback(process.join)
            pipes.append(ours)
        for pipe in pipes:  # they end together, and before any of them is waited for
            stack.callback(_say, pipe, None)
        yield partial(_ask, pipes)


def _ask(pipes: Sequence[Connection], what: str) -> list[float]:
    """Raises ``RuntimeError`` where a rank ended or does not answer."""
    asked = pipes[:1] if what == "alone" else pipes
    for pipe in asked:
        _say(pipe, what)
    return [_answer(rank, pipe) for rank, pipe in enumerate(asked)]


def _say(pipe: Connection, what: str | None) -> None:
    """To a rank that may have ended, which its answer tells."""
    with suppress(BrokenPipeError):
        pipe.send(what)


def _answer(rank: int, pipe: Connection) -> float:
    try:
        if pipe.poll(_ANSWER_S):
            return float(pipe.recv())
    except (EOFError, ConnectionResetError):
        raise RuntimeError(f"rank {rank} ended; what it said stands above") from None
    raise RuntimeError(f"rank {rank} must answer within {_ANSWER_S:.0f} s")


def _serve(pipe: Connection, spec: RunSpec, where: tuple[int, int, int], folder: str) -> None:
    """A rank, in a process of its own, on one core."""
    rank, size, core = where
    os.sched_setaffinity(0, {core})
    with ExitStack() as stack:
        exchange = stack.enter_context(beside(Path(folder) / "store", rank, size))
        measures: dict[str, Callable[[], float]] = {
            "together": _stepped(stack, spec, exchange=exchange),
            "exchange": partial(_exchange_s, exchange),
        }
        if rank == 0:
            measures["alone"] = _stepped(stack, spec)
        while (what := pipe.recv()) is not None:
            pipe.send(measures[what]())


def _stepped(stack: ExitStack, spec: RunSpec, **given: Any) -> Callable[[], float]:
    return partial(step_s, stack.enter_context(opened(spec, **given)))


def _exchange_s(exchange: Exchange) -> float:
    """Median seconds in which a step's losses are with everybody, who all are there."""
    taken = sorted(_once_s(exchange) for _ in range(_EXCHANGES))
    return taken[_EXCHANGES // 2]


def _once_s(exchange: Exchange) -> float:
    start_s = perf_counter()
    exchange.gather(bytes(_MESSAGE_BYTES), limit_s=_ANSWER_S)
    return perf_counter() - start_s
