"""Measured durations through the simulator: what is left is the error of the rules."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from statistics import fmean

from zo2sim.predict.case import Case
from zo2sim.schedule.ops import Op
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Trace
from zo2sim.simulate.work import Work


def replayed_s(trace: Trace, case: Case, steps: Collection[int]) -> float:
    """Step time of a schedule whose operations take what they took on the average of ``steps``.

    Nothing contends: what contention did is in the durations. Gaps between operations are the cost
    model's, as they are part of the rules: ``case`` is on the machine as it was meanwhile. An
    operation that ``steps`` lack, because a period has more of them, takes its mean over all steps.
    """
    every = {span.step for span in trace.spans}
    means = {**mean_durations_s(trace, every), **mean_durations_s(trace, steps)}
    cost = case.cost

    def work_of(op: Op) -> Work:
        work = cost(op)
        return replace(work, fixed_s=means[op.name], amounts={})

    return simulate(case.program, work_of, cost.rates).step_s


def mean_durations_s(trace: Trace, steps: Collection[int]) -> Mapping[str, float]:
    """Mean duration of every operation of the period, by name."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for span in trace.spans:
        if span.step in steps:
            found[span.op.name].append(span.duration_s)
    return {name: fmean(durations) for name, durations in found.items()}
