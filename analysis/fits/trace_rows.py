"""From the trace of a run to measurements: what each operation took, and the gaps between them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from zo2sim.cost import Key, cost_key
from zo2sim.cost.cpu import Amounts, floats, gap, wake, woken
from zo2sim.cost.measured import Measured
from zo2sim.predict.case import Case
from zo2sim.predict.drift import Drift
from zo2sim.schedule.ops import Kind, Stream, unit_name
from zo2sim.schedule.unroll import Unrolled, unroll
from zo2sim.simulate.trace import Span, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Steps that count, and how the machine had drifted: it takes more of a constant meanwhile."""

    steps: Collection[int]
    drift: Drift = field(default_factory=Drift)


def op_rows(trace: Trace, case: Case, name: str, counted: Counted) -> Iterator[Measured]:
    """The mean duration of operations that cost the same, beside what they take.

    Only operations that run on a core of the device; copies are the link's.
    """
    mean_s = _mean_s(trace, case, counted.steps)
    for key, seconds in sorted(mean_s.items(), key=lambda i: str(i[0])):
        found = case.cost.on_cores(key)
        if found:
            taken, label = _taken(found, counted.drift), f"{name}, {_label(key)}"
            yield Measured(group=_group(key), name=label, amounts=taken, seconds=seconds)


def copy_rows(
    trace: Trace, case: Case, name: str, counted: Counted, *, limit_bytes_per_s: float | None
) -> Iterator[Measured]:
    """The mean duration of copies of one size: the link's, or what a limited link adds to it."""
    for key, seconds in _mean_s(trace, case, counted.steps).items():
        kind, unit = key.kind, key.unit
        if kind in (Kind.H2D, Kind.D2H) and unit is not None:
            nbytes = float(case.cost.setting.unit_bytes(unit, case.recipe.wire_dtype))
            limited = limit_bytes_per_s is not None
            rate = {f"link.{kind.value.lower()}_bytes_per_s": nbytes, "link.latency_s": 1.0}
            free = rate | _taken(woken(case.cost.setting, kind), counted.drift)
            yield Measured(
                group="limited copy in a run" if limited else "copy in a run",
                name=f"{name}, {kind} of unit {unit}",
                amounts={"cpu.throttle_s": 1.0} if limited else free,
                seconds=seconds,
                known_s=nbytes / limit_bytes_per_s if limit_bytes_per_s is not None else 0.0,
            )


def gap_rows(trace: Trace, case: Case, name: str, counted: Counted) -> Iterator[Measured]:
    """Gaps on the compute stream by what an operation waited for: a copy, its stream, the loss.

    What waits on other streams starts when it is asked to.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    taken: dict[str, Amounts] = {}
    for before, after, gap_s in gaps(trace, case, counted.steps):
        if after.op.stream is Stream.COMPUTE and gap_s > 0.0:
            own = before.op.stream is Stream.COMPUTE
            kind = before.op.kind
            amounts_of_gap = gap(case.cost.setting, kind) if own else wake(kind)
            what = _gap_group(amounts_of_gap)
            found[what].append(gap_s)
            taken[what] = amounts_of_gap
    for what, gaps_s in found.items():
        amounts_of_gap = _taken(taken[what], counted.drift)
        yield Measured(
            group=what, name=f"{name}, {what}", amounts=amounts_of_gap, seconds=fmean(gaps_s)
        )


def _gap_group(taken: Amounts) -> str:
    """A loss that a trip of updates follows has an ordinary gap."""
    if "cpu.turnaround_s" in taken:
        return "turnaround"
    return "wake" if "cpu.wake_s" in taken else "gap"


def _taken(amounts_of_it: Amounts, drift: Drift) -> dict[str, float]:
    """In constants of a machine that has not drifted."""
    return {key: amount * drift.of(key) for key, amount in floats(amounts_of_it).items()}


def _mean_s(trace: Trace, case: Case, steps: Collection[int]) -> Mapping[Key, float]:
    """Of operations that cost alike, over all steps that count."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    for span in trace.spans:
        if span.step in steps:
            found[cost_key(case.model, span.op, case.plan)].append(span.duration_s)
    return {key: fmean(durations) for key, durations in found.items()}


def gaps(trace: Trace, case: Case, steps: Collection[int]) -> Iterator[tuple[Span, Span, float]]:
    """(what it waited for longest, operation, seconds in between) for the steps' operations."""
    spans = {(span.step, span.op.name): span for span in trace.spans}
    periods = -(-(1 + max(step for step, _ in spans)) // trace.steps_per_period)
    planned = unroll(case.program, periods=periods)
    for item in planned:
        after = spans.get((item.step, item.name))
        if after is None or item.step not in steps:
            continue
        before = _last(planned, item.deps, spans)
        if before is not None:
            yield before, after, after.start_s - before.end_s


def _last(
    planned: tuple[Unrolled, ...], deps: Iterable[int], spans: Mapping[tuple[int, str], Span]
) -> Span | None:
    found = (spans.get((planned[dep].step, planned[dep].name)) for dep in deps)
    return max((s for s in found if s is not None), key=lambda s: s.end_s, default=None)


def _group(key: Key) -> str:
    """Short operations scatter more: the head's and the tail's are groups of their own."""
    kind, unit = key.kind, key.unit
    where = "" if unit is None else f" of {unit_name(unit) if unit < 0 else 'a block'}"
    return f"{kind.value.lower()}{where}"


def _label(key: Key) -> str:
    kind, unit, lanes, records = key[:4]
    where = "" if unit is None else f" of unit {unit}"
    return f"{kind.value}{where} {lanes or records or ''}".strip()
