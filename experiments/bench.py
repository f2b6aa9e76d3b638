"""How fast the toolkit itself is.

    python -m experiments.bench --json -

Figures are medians over repeats in this process, with the range beside them; they hold for this
machine while nothing else runs.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from experiments.cli import DONE, run, write_json
from zo2sim.case import Case
from zo2sim.fast import contends, step_s
from zo2sim.machine import Machine, replace_all
from zo2sim.machine_file import named
from zo2sim.plan import Plan, Policy, Recipe
from zo2sim.presets import preset
from zo2sim.simulate import simulate
from zo2sim.steady import PERIODS

_CHECKED = 40  # plans that are simulated one by one, too


@dataclass(frozen=True, kw_only=True)
class Config:
    """How fast the toolkit itself is."""

    repeats: int = 5
    """Times that each figure is measured; the median counts."""
    plans: int = 50_000
    """Plans that the fast path evaluates per repeat."""
    seed: int = 0
    """Draws the plans."""
    json: str | None = None
    """Write the figures as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    if config.repeats < 1 or config.plans < 100:
        raise ValueError(
            f"--repeats must be >= 1 and --plans >= 100; got {config.repeats} and {config.plans}"
        )
    figures = {**_simulator(config.repeats), **_fast_path(config)}
    if config.json is not None:
        write_json(config.json, figures)
    if config.json != "-":
        for name, value in figures.items():
            print(f"{name:32} {value:.4g}")
    return DONE


def _simulator(repeats: int) -> dict[str, float]:
    case = Case(
        model=preset("opt-175b"), machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe()
    )
    program, cost = case.program, case.cost
    rates = cost.rates
    num_ops = len(program.prologue.ops) + PERIODS * len(program.period.ops)
    seconds = _timed(lambda: simulate(program, cost, rates), repeats)
    median = statistics.median(seconds)
    return {
        "simulate_opt175b_step_s": median / (PERIODS + 1),
        "simulate_opt175b_run_s": median,
        "simulate_opt175b_run_low_s": min(seconds),
        "simulate_opt175b_run_high_s": max(seconds),
        "simulate_ops_per_s": num_ops / median,
    }


def _fast_path(config: Config) -> dict[str, float]:
    """Build, price and evaluate plans of a 96-block model that nobody has asked about before."""
    draw = random.Random(config.seed)
    machine = uncontended(named("a100-pcie-80gb"))
    batches = [random_cases(draw, machine, config.plans) for _ in range(config.repeats)]
    remaining = iter(batches)
    seconds = _timed(lambda: step_s(next(remaining)), config.repeats)
    checked = list(islice((case for case in batches[0] if not contends(case)), _CHECKED))
    fast = step_s(checked)
    slow = np.array([simulate(c.program, c.cost, c.cost.rates).step_s for c in checked])
    return {
        "fast_path_plans_per_s": config.plans / statistics.median(seconds),
        "fast_path_plans_per_s_low": config.plans / max(seconds),
        "fast_path_plans_per_s_high": config.plans / min(seconds),
        "fast_path_max_relative_error": float(np.max(np.abs(fast / slow - 1.0))),
        "fast_path_plans_checked": float(len(checked)),
    }


def uncontended(machine: Machine) -> Machine:
    """The machine with a link and a DRAM that nothing slows."""
    link = machine.link
    free = {
        "link.both_h2d_bytes_per_s": link.h2d_bytes_per_s.value,
        "link.both_d2h_bytes_per_s": link.d2h_bytes_per_s.value,
        "host.dram_bytes_per_s": 1e12,
    }
    return replace_all(machine, free, source="no contention, to compare with the fast path")


def random_cases(draw: random.Random, machine: Machine, count: int) -> list[Case]:
    """Plans of OPT-175B in a few structures, with any batch, sequence, lanes and link."""
    model = preset("opt-175b")
    plans = [
        Plan(num_slots=slots, write_back_every=every, scratch_copies=copies)
        for slots, every, copies in ((1, 1, 1), (2, 1, 2), (3, 1, 1), (4, 2, 1))
    ]
    plans += [Plan(policy=Policy.HOST_UPDATE), Plan(policy=Policy.DUAL)]
    machines = [_with_link(machine, draw.uniform(5e9, 60e9)) for _ in range(16)]
    return [
        Case(
            model=model,
            machine=draw.choice(machines),
            plan=draw.choice(plans),
            recipe=replace(
                Recipe(),
                batch=draw.randint(1, 16),
                sequence=128 * draw.randint(1, 32),
                microbatches=draw.randint(1, 16),
                samples=draw.randint(1, 4),
            ),
        )
        for _ in range(count)
    ]


def _with_link(machine: Machine, rate: float) -> Machine:
    keys = [f"link.{both}{way}_bytes_per_s" for both in ("", "both_") for way in ("h2d", "d2h")]
    return replace_all(machine, dict.fromkeys(keys, rate), source="drawn at random")


def _timed(work: Callable[[], object], repeats: int) -> list[float]:
    seconds: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(run(main, Config))
