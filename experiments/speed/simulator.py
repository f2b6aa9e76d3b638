"""How fast the simulator is, and the fast path beside it."""

import random
from functools import partial
from itertools import islice

import numpy as np

from experiments.speed.drawn_plans import random_cases, uncontended
from zo2rt.measure.spread import Spread
from zo2rt.measure.timing import timed_s
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.vectorised import contends, step_s
from zo2sim.simulate.events import simulate
from zo2sim.simulate.steady import PERIODS

_CHECKED = 40  # plans that are simulated one by one, too


def figures(*, repeats: int, plans: int, seed: int) -> dict[str, float]:
    """Medians over ``repeats``, with the range of what varies; ``seed`` draws the plans."""
    return {**_simulator(repeats), **_fast_path(repeats, plans, seed)}


def _simulator(repeats: int) -> dict[str, float]:
    case = Case(
        model=preset("opt-175b"), machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe()
    )
    program, cost = case.program, case.cost
    rates = cost.rates
    num_ops = len(program.prologue.ops) + PERIODS * len(program.period.ops)
    run = partial(simulate, program, cost, rates)
    run_s = Spread.of(timed_s(run) for _ in range(repeats))
    return {
        "simulate_opt175b_step_s": run_s.median / (PERIODS + 1),
        "simulate_opt175b_run_s": run_s.median,
        "simulate_opt175b_run_low_s": run_s.low,
        "simulate_opt175b_run_high_s": run_s.high,
        "simulate_ops_per_s": num_ops / run_s.median,
    }


def _fast_path(repeats: int, plans: int, seed: int) -> dict[str, float]:
    """Build, price and evaluate plans of a 96-block model that nobody has asked about before."""
    draw = random.Random(seed)
    machine = uncontended(named("a100-pcie-80gb"))
    batches = [random_cases(draw, machine, plans) for _ in range(repeats)]
    batch_s = Spread.of(timed_s(partial(step_s, batch)) for batch in batches)
    checked = list(islice((case for case in batches[0] if not contends(case)), _CHECKED))
    fast = step_s(checked)
    slow = np.array([simulate(c.program, c.cost, c.cost.rates).step_s for c in checked])
    return {
        "fast_path_plans_per_s": plans / batch_s.median,
        "fast_path_plans_per_s_low": plans / batch_s.high,
        "fast_path_plans_per_s_high": plans / batch_s.low,
        "fast_path_max_relative_error": float(np.max(np.abs(fast / slow - 1.0))),
        "fast_path_plans_checked": float(len(checked)),
    }
