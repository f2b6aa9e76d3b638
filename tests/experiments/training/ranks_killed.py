"""Ranks of which one is killed, again and again, and what the run holds in the end.

    python -m tests.experiments.training.ranks_killed 1000 7

A run starts with one to four ranks, one of them is killed at a random time, the others must end by
themselves, and it goes on with another number of ranks; at last its folder and weights are those of
one process that nobody stopped. Arguments: how many kills, and the seed.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

from tests.zo2rt.engine.engine_runs import recipe
from tests.zo2rt.exchange.company import Company
from tests.zo2rt.exchange.rank_jobs import Left, Task, alone, begun, digests
from zo2rt.exchange import RankGone
from zo2sim.plan.choices import Plan, Policy

STEPS = 7
MOST_KILLS = 12
"""Of one run, which is left alone then: on a machine that became slow it would never end."""
_AT_ONCE = 3
"""Runs beside each other: most of the time somebody waits to see whether another one is alive."""
GONE_S = 10.0
"""Within which the others must have ended, on a machine that has nothing else to do."""
PLANS = (Plan(write_back_every=2), Plan(tier="nvme"), Plan(policy=Policy.HOST_UPDATE))
_LONGEST_S: list[float] = []
"""From each kill to the end of the last of the others."""
_HOW = recipe(samples=2, microbatches=2)


@dataclass(frozen=True)
class Undisturbed:
    """What one process leaves, and its folder."""

    left: Left
    files: dict[str, str]


@cache
def undisturbed(number: int) -> Undisturbed:
    """Of a plan."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "run"
        left = alone(Task(PLANS[number], _HOW, folder, steps=STEPS))
        return Undisturbed(left, digests(folder))


@cache
def took_s() -> float:
    """How long two ranks take that nobody kills."""
    with TemporaryDirectory() as name:
        task = Task(PLANS[0], _HOW, Path(name) / "run", steps=STEPS)
        with _beginning(task, 2, Path(name)) as two:
            start_s = perf_counter()
            assert [two.answer(rank) for rank in range(2)] == [undisturbed(0).left] * 2
            return perf_counter() - start_s


def killed_run(random: Random, number: int, most: int) -> int:
    """Kill ranks of a run until it comes to its end, ``most`` at most; how many there were.

    Raises ``AssertionError`` where it differs from one that nobody stopped.
    """
    alone_is = undisturbed(number)
    kills, size = 0, 0
    with TemporaryDirectory() as folder:
        task = Task(PLANS[number], _HOW, Path(folder) / "run", steps=STEPS)
        while True:
            size = random.choice([n for n in (1, 2, 3, 4) if n != size])
            after_s = random.uniform(0, 1.5 * took_s()) if kills < most else None
            found = _attempt(random, task, size, Path(folder), after_s)
            if found is not None:
                break
            kills += 1
        ends = [replace(left, losses=()) for left in found]  # the journal has them all
        assert ends == [replace(alone_is.left, losses=())] * size, f"{task.plan}: {ends}"
        files = digests(Path(folder) / "run")
        differ = {name for name, _ in files.items() ^ alone_is.files.items()}
        assert differ == set(), f"{task.plan}: {differ} differ"
    return kills


def _attempt(
    random: Random, task: Task, size: int, folder: Path, after_s: float | None
) -> list[Any] | None:
    """What the ranks left, or None where one was killed, ``after_s``, in time.

    Where ``after_s`` is None nobody is killed, and the ranks are waited for.
    """
    with _beginning(task, size, folder) as company:
        sleep(after_s or 0.0)
        if after_s is None or all(company.has_answered(rank) for rank in range(size)):
            return [company.answer(rank) for rank in range(size)]
        victim = random.randrange(size)
        company.kill(victim)
        killed_s = perf_counter()
        others = [company.answer(rank) for rank in range(size) if rank != victim]
        _LONGEST_S.append(perf_counter() - killed_s)
        strange = [one for one in others if not isinstance(one, RankGone | Left)]
        assert strange == [], strange
        assert not any("no answer in" in str(one) for one in others), f"out of time: {others}"
        named = [one.gone for one in others if isinstance(one, RankGone)]
        assert all(victim in gone for gone in named), f"rank {victim} was killed, {named} named"
        return None


@contextmanager
def _beginning(task: Task, size: int, folder: Path) -> Iterator[Company]:
    """Ranks that have met, and begin; at the end they are killed."""
    mark = folder / "begun"
    mark.unlink(missing_ok=True)
    company = Company(size, folder)
    try:
        company.start(begun, task, mark)
        while not mark.exists():
            assert not any(company.has_answered(rank) for rank in range(size)), company.answer(0)
            sleep(0.01)
        yield company
    finally:
        company.close()


def main(
    kills: int, seed: int = 0, tell: Callable[[str], None] = print, most: int = MOST_KILLS
) -> int:
    """Kill ranks of runs with every plan in turn, ``most`` of one, until there were ``kills``."""

    def one(n: int) -> int:
        return killed_run(Random(f"{seed} {n}"), n % len(PLANS), most)

    done, count, start_s = 0, 0, perf_counter()
    for number in range(len(PLANS)):
        undisturbed(number)
    took_s()
    while done < kills:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            runs = range(count, count + _AT_ONCE)
            done += sum(pool.map(one, runs))
        count += _AT_ONCE
        tell(
            f"{done} ranks killed in {count} runs, all of them ended as if nobody had; "
            f"the others were gone within {max(_LONGEST_S, default=0.0):.1f} s; "
            f"{perf_counter() - start_s:.0f} s"
        )
    assert max(_LONGEST_S, default=0.0) < GONE_S, "the others must end at once"
    return done


if __name__ == "__main__":
    count, seed = map(int, sys.argv[1:])
    main(count, seed, partial(print, flush=True))
