"""From the trace of a run to measurements: what each operation took, and the gaps between them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median

from zo2sim.case import Case
from zo2sim.cost import Key, cost_key
from zo2sim.cost.cpu import Amounts, amounts, gap
from zo2sim.measured import Measured
from zo2sim.schedule import Kind, Stream, unit_name
from zo2sim.trace import Span, Trace
from zo2sim.unroll import Unrolled, unroll

WARM_UP_STEPS = 2
"""First steps compile, allocate and touch memory for the first time; they do not count."""


Turns = Sequence[Collection[int]]
"""Steps of each turn that a run had, where it took turns with others."""


def settled(trace: Trace) -> Turns:
    """One turn: every step after the first ones."""
    return [frozenset(span.step for span in trace.spans if span.step >= WARM_UP_STEPS)]


def op_rows(trace: Trace, case: Case, name: str, turns: Turns) -> Iterator[Measured]:
    """The typical duration of operations that cost the same, beside what they take.

    Only operations that run on a core of the device; copies are the link's.
    """
    for key, seconds in sorted(_typical_s(trace, case, turns).items(), key=lambda i: str(i[0])):
        taken = amounts(case.cost.setting, *key)
        if taken:
            yield _row(_group(key), f"{name}, {_label(key)}", taken, seconds)


def copy_rows(
    trace: Trace, case: Case, name: str, turns: Turns, *, limit_bytes_per_s: float | None
) -> Iterator[Measured]:
    """The typical duration of copies of one size: the link's, or what a limited link adds to it."""
    for (kind, unit, _, _), seconds in _typical_s(trace, case, turns).items():
        if kind in (Kind.H2D, Kind.D2H) and unit is not None:
            nbytes = float(case.cost.setting.unit_bytes(unit, case.recipe.wire_dtype))
            limited = limit_bytes_per_s is not None
            rate = {f"link.{kind.value.lower()}_bytes_per_s": nbytes, "link.latency_s": 1.0}
            yield Measured(
                group="limited copy in a run" if limited else "copy in a run",
                name=f"{name}, {kind} of unit {unit}",
                amounts={"cpu.throttle_s": 1.0} if limited else rate,
                seconds=seconds,
                known_s=nbytes / limit_bytes_per_s if limit_bytes_per_s is not None else 0.0,
            )


def gap_rows(trace: Trace, case: Case, name: str, turns: Turns) -> Iterator[Measured]:
    """Gaps on the compute stream by what an operation waited for: a copy, its stream, the loss."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    taken: dict[str, Amounts] = {}
    for steps in turns:
        turn: defaultdict[str, list[float]] = defaultdict(list)
        for before, after, gap_s in gaps(trace, case, steps):
            if after.op.stream is Stream.COMPUTE and gap_s > 0.0:
                amounts_of_gap = gap(case.cost.setting, before.op.kind)
                what = _gap_group(before, amounts_of_gap)
                turn[what].append(gap_s)
                taken[what] = amounts_of_gap
        for what, gaps_s in turn.items():
            found[what].append(_middle_mean(gaps_s))
    for what, means in found.items():
        yield _row(what, f"{name}, {what}", taken[what], median(means))


def _gap_group(before: Span, taken: Amounts) -> str:
    if before.op.kind is Kind.LOSS:
        return "turnaround"
    return "wake" if "cpu.wake_s" in taken else "gap"


def _typical_s(trace: Trace, case: Case, turns: Turns) -> Mapping[Key, float]:
    """The median over the turns: what disturbs a machine for seconds spoils one of them."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    for steps in turns:
        for key, durations in durations_s(trace, case, steps).items():
            found[key].append(_middle_mean(durations))
    return {key: median(means) for key, means in found.items()}


def durations_s(trace: Trace, case: Case, steps: Collection[int]) -> Mapping[Key, list[float]]:
    """Durations of the steps' operations, by what they cost alike."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    for span in trace.spans:
        if span.step in steps:
            found[cost_key(case.units, span.op)].append(span.duration_s)
    return found


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
    numbers = {key: float(amount) for key, amount in taken.items()}
    return Measured(group=group, name=name, amounts=numbers, seconds=seconds)


def _middle_mean(durations: list[float]) -> float:
    """The mean without the lowest and the highest tenth: a run's mean, less what interrupts it."""
    ordered = sorted(durations)
    cut = len(ordered) // 10
    return fmean(ordered[cut : len(ordered) - cut])


def _group(key: Key) -> str:
    """Short operations scatter more: the head's and the tail's are groups of their own."""
    kind, unit, _, _ = key
    where = "" if unit is None else f" of {unit_name(unit) if unit < 0 else 'a block'}"
    return f"{kind.value.lower()}{where}"


def _label(key: Key) -> str:
    kind, unit, lanes, records = key
    where = "" if unit is None else f" of unit {unit}"
    return f"{kind.value}{where} {lanes or records or ''}".strip()
