"""A step of many workers that send each other losses, and nothing else.

Every worker has the whole model and a key: from a direction's key and its projected gradient it
makes the update itself. All may look along one direction, each with its own data, or each along its
own. A step ends when the slowest worker's losses have come to all: of N times with relative spread
s, the largest is 1 + s sqrt(2 ln N) of the mean (the maximum of N normal numbers, to first order).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import Literal

from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.events import simulate
from zo2sim.simulate.work import Work

Directions = Literal["one", "own"]

LOSS_BYTES = 8
"""A lane's loss as a float64; as many bytes again say what the worker's weights are."""
_UPDATES = (Kind.UPDATE, Kind.HOST_UPDATE)
_MANY = 1000  # directions, over which the time of one is taken
MOST_WORKERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What lies between workers: a message there and back, and bytes of a worker and of a relay.

    Losses go up to a relay, and those of all come down; relays may stand above each other.
    """

    name: str
    round_trip_s: float
    worker_bytes_per_s: float
    relay_bytes_per_s: float

    def exchange_s(self, workers: int, lanes: int) -> float:
        """From the last loss to the losses of all everywhere, by as many levels of relays as are
        fastest; nothing for a worker alone."""
        if workers == 1:
            return 0.0
        return min(self._through_s(workers, lanes, levels) for levels in range(1, 8))

    def _through_s(self, workers: int, lanes: int, levels: int) -> float:
        down_bytes = workers * message_bytes(lanes)
        served = workers ** (1.0 / levels)
        relayed_s = levels * served * down_bytes / self.relay_bytes_per_s
        return levels * self.round_trip_s + relayed_s + down_bytes / self.worker_bytes_per_s


LAN = Network(name="LAN", round_trip_s=1e-4, worker_bytes_per_s=1.25e9, relay_bytes_per_s=1.25e9)
"""Assumed: 0.1 ms there and back within a building, 10 Gbit/s for everybody."""
INTERNET = Network(
    name="internet", round_trip_s=0.1, worker_bytes_per_s=1.25e6, relay_bytes_per_s=1.25e8
)
"""Assumed: 0.1 s there and back between continents, 10 Mbit/s of a worker, 1 Gbit/s of a relay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStep:
    """A step of so many workers, and what it is made of: what a worker alone would take, what it
    takes longer to make the updates along everybody's directions, the wait for the slowest one,
    and the exchange."""

    workers: int
    alone_s: float
    replay_s: float
    straggle_s: float
    exchange_s: float

    @property
    def step_s(self) -> float:
        """Seconds from a step to the next one."""
        return self.alone_s + self.replay_s + self.straggle_s + self.exchange_s

    @property
    def efficiency(self) -> float:
        """Work per second and worker, over that of a worker alone."""
        return self.alone_s / self.step_s


def message_bytes(lanes: int) -> int:
    """What a worker sends in a step."""
    return LOSS_BYTES * (lanes + 1)


def rank_steps(
    case: Case,
    workers: Iterable[int],
    *,
    network: Network,
    directions: Directions,
    spread: float,
) -> tuple[RankStep, ...]:
    """A step for every number of workers. Raises ``ValueError`` for a number or a spread that is
    none."""
    if not 0.0 <= spread < 1.0:
        raise ValueError(
            f"the spread of a worker's steps must be from 0 to below 1; got {spread:g}"
        )
    alone_s = predict(case).step_s
    return tuple(_step(case, count, alone_s, network, directions, spread) for count in workers)


def wall(case: Case) -> float:
    """Workers, each with a direction of its own, from which on the updates along all directions
    take a worker longer than its own forwards.

    With T tokens a lane, noise at R elements and products at F operations per second, a model of P
    parameters takes 4 P T / F for its two forwards, and P / R for a direction: 4 T R / F, and two
    more as W+ and W- are drawn, too.
    """
    forwards_s = _busy_s(case, (Kind.BUILD, Kind.FORWARD), 1)
    many_s, one_s = (_busy_s(case, _UPDATES, count) for count in (_MANY, 1))
    return forwards_s / ((many_s - one_s) / (_MANY - 1))


def _step(
    case: Case,
    workers: int,
    alone_s: float,
    network: Network,
    directions: Directions,
    spread: float,
) -> RankStep:
    if not 1 <= workers <= MOST_WORKERS:
        raise ValueError(f"workers must be from 1 to {MOST_WORKERS}; got {workers}")
    longer_s = _with_directions_s(case, workers) - alone_s if directions == "own" else 0.0
    recipe = case.recipe
    return RankStep(
        workers=workers,
        alone_s=alone_s,
        replay_s=longer_s,
        straggle_s=(alone_s + longer_s) * spread * sqrt(2.0 * log(workers)),
        exchange_s=network.exchange_s(workers, 2 * recipe.microbatches * recipe.samples),
    )


def _with_directions_s(case: Case, workers: int) -> float:
    """A step of which every update replays the records of all workers."""
    if workers == 1:
        return predict(case).step_s
    cost = case.cost
    return simulate(case.program, lambda op: cost(_of_all(op, workers)), cost.rates).step_s


def _of_all(op: Op, workers: int) -> Op:
    return replace(op, records=op.records * workers) if op.kind in _UPDATES else op


def _busy_s(case: Case, kinds: Iterable[Kind], workers: int) -> float:
    """Seconds of a period that operations of some kinds take alone."""
    cost = case.cost
    works: list[Work] = [
        cost(_of_all(op, workers)) for op in case.program.period.ops if op.kind in kinds
    ]
    return sum(float(work.alone_s(cost.rates)) for work in works)
