"""From the trace of a run to measurements: what each operation took, and the gaps between them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from statistics import fmean

from zo2sim.case import Case
from zo2sim.cost import Key, cost_key
from zo2sim.cost.cpu import Amounts, amounts, floats, gap, wake, woken
from zo2sim.measured import Measured
from zo2sim.schedule import Kind, Stream, unit_name
from zo2sim.trace import Span, Trace
from zo2sim.unroll import Unrolled, unroll

Counted = Mapping[int, float]
"""Steps that count, and how slow the machine was meanwhile: its cores' times are divided by it."""


def op_rows(trace: Trace, case: Case, name: str, counted: Counted) -> Iterator[Measured]:
    """The mean duration of operations that cost the same, beside what they take.

    Only operations that run on a core of the device; copies are the link's.
    """
    for key, seconds in sorted(_mean_s(trace, case, counted).items(), key=lambda i: str(i[0])):
        taken = amounts(case.cost.setting, *key)
        if taken:
            yield _row(_group(key), f"{name}, {_label(key)}", taken, seconds)


def copy_rows(
    trace: Trace, case: Case, name: str, counted: Counted, *, limit_bytes_per_s: float | None
) -> Iterator[Measured]:
    """The mean duration of copies of one size: the link's, or what a limited link adds to it."""
    steady = dict.fromkeys(counted, 1.0)  # cores drift, links do not
    for (kind, unit, _, _), seconds in _mean_s(trace, case, steady).items():
        if kind in (Kind.H2D, Kind.D2H) and unit is not None:
            nbytes = float(case.cost.setting.unit_bytes(unit, case.recipe.wire_dtype))
            limited = limit_bytes_per_s is not None
            rate = {f"link.{kind.value.lower()}_bytes_per_s": nbytes, "link.latency_s": 1.0}
            free = rate | floats(woken(case.cost.setting, kind))
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
    for before, after, gap_s in gaps(trace, case, counted):
        if after.op.stream is Stream.COMPUTE and gap_s > 0.0:
            own = before.op.stream is Stream.COMPUTE
            kind = before.op.kind
            amounts_of_gap = gap(case.cost.setting, kind) if own else wake(kind)
            what = _gap_group(amounts_of_gap)
            found[what].append(gap_s / counted[after.step])
            taken[what] = amounts_of_gap
    for what, gaps_s in found.items():
        yield _row(what, f"{name}, {what}", taken[what], fmean(gaps_s))


def _gap_group(taken: Amounts) -> str:
    """A loss that a trip of updates follows has an ordinary gap."""
    if "cpu.turnaround_s" in taken:
        return "turnaround"
    return "wake" if "cpu.wake_s" in taken else "gap"


def _mean_s(trace: Trace, case: Case, counted: Counted) -> Mapping[Key, float]:
    """Of operations that cost alike, over all steps that count."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    for span in trace.spans:
        if span.step in counted:
            found[cost_key(case.units, span.op)].append(span.duration_s / counted[span.step])
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


def _row(group: str, name: str, taken: Amounts, seconds: float) -> Measured:
    return Measured(group=group, name=name, amounts=floats(taken), seconds=seconds)


def _group(key: Key) -> str:
    """Short operations scatter more: the head's and the tail's are groups of their own."""
    kind, unit, _, _ = key
    where = "" if unit is None else f" of {unit_name(unit) if unit < 0 else 'a block'}"
    return f"{kind.value.lower()}{where}"


def _label(key: Key) -> str:
    kind, unit, lanes, records = key
    where = "" if unit is None else f" of unit {unit}"
    return f"{kind.value}{where} {lanes or records or ''}".strip()
