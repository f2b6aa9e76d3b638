"""Measured durations through the simulator: what is left is the error of the rules."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from statistics import fmean

from zo2sim.cost import CostModel
from zo2sim.predict.case import Case
from zo2sim.schedule.ops import Op
from zo2sim.simulate.events import simulate
from zo2sim.simulate.sharing import turn_of
from zo2sim.simulate.trace import Span, Trace
from zo2sim.simulate.work import Rates, Resource, Work


def replayed_s(trace: Trace, case: Case, steps: Collection[int]) -> float:
    """Step time of a schedule whose operations take what they took, in the mean over ``steps``.

    Each of these is replayed by itself: where tracks wait for each other, scatter costs time that
    mean durations do not have. What a period has beyond the step takes its mean over ``steps``, or
    over all steps. Nothing contends: what contention did is in the durations. Gaps between
    operations are the cost model's, as they are part of the rules: ``case`` is on the machine as it
    was meanwhile.
    """
    every = {span.step for span in trace.spans}
    own = _without_waits(trace, case.cost)
    usual = {**mean_durations_s(own, every), **mean_durations_s(own, steps)}
    usual_s = _step_s(case, usual)

    def as_in(step: int) -> float:
        others_s = (case.program.period.steps - 1) * usual_s
        replayed = _step_s(case, {**usual, **mean_durations_s(own, {step})})
        return replayed * case.program.period.steps - others_s

    return fmean(map(as_in, steps))


def _step_s(case: Case, durations_s: Mapping[str, float]) -> float:
    """Of a schedule whose operations take these seconds, by name."""
    cost, rates = case.cost, case.cost.rates

    def work_of(op: Op) -> Work:
        work, taken_s = cost(op), durations_s[op.name]
        later_s = taken_s * _share_in_turn(work, rates)
        later = None if work.in_turn is None else Work(amounts={Resource.COMPUTE: later_s})
        return replace(work, fixed_s=taken_s - later_s, amounts={}, in_turn=later)

    return simulate(case.program, work_of, rates).step_s


def _without_waits(trace: Trace, cost: CostModel) -> Trace:
    """The same, but what waited for its turn starts later: waiting is a rule. Who ends next after
    another one has had the whole of its turn since."""
    shares = {span.op.name: _share_in_turn(cost(span.op), cost.rates) for span in trace.spans}
    ends: defaultdict[int, list[float]] = defaultdict(list)
    for span in trace.spans:
        if shares[span.op.name] > 0.0:
            ends[turn_of(span.op)].append(span.end_s)

    def own(span: Span) -> Span:
        share = shares[span.op.name]
        if share == 0.0:
            return span
        before = (end_s for end_s in ends[turn_of(span.op)] if span.start_s < end_s < span.end_s)
        turn_s = span.end_s - max(before, default=span.start_s)
        start_s = span.start_s if turn_s == span.duration_s else span.end_s - turn_s / share
        return replace(span, start_s=max(span.start_s, start_s))

    return replace(trace, spans=tuple(map(own, trace.spans)))


def _share_in_turn(work: Work, rates: Rates) -> float:
    """Of the time that an operation takes."""
    if work.in_turn is None:
        return 0.0
    later_s = float(work.in_turn.alone_s(rates))
    return later_s / (later_s + float(work.flow_s(rates)))


def mean_durations_s(trace: Trace, steps: Collection[int]) -> Mapping[str, float]:
    """Mean duration of every operation of the period, by name."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for span in trace.spans:
        if span.step in steps:
            found[span.op.name].append(span.duration_s)
    return {name: fmean(durations) for name, durations in found.items()}
