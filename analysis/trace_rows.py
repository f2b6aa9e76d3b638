"""From the trace of a run to measurements: what each operation took, and the gaps between them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean

from zo2sim.case import Case
from zo2sim.cost import Key, cost_key
from zo2sim.cost.cpu import Amounts, amounts, gap
from zo2sim.measured import Measured
from zo2sim.schedule import Kind, Stream
from zo2sim.trace import Span, Trace
from zo2sim.unroll import Unrolled, unroll

WARM_UP_STEPS = 2
"""First steps compile, allocate and touch memory for the first time; they do not count."""


def op_rows(trace: Trace, case: Case, name: str) -> Iterator[Measured]:
    """The typical duration of operations that cost the same, beside what they take.

    Only operations that run on a core of the device; copies are the link's.
    """
    for key, durations in sorted(durations_s(trace, case).items(), key=lambda item: str(item[0])):
        taken = amounts(case.cost.setting, *key)
        if taken:
            yield _row(key[0].value.lower(), f"{name}, {_label(key)}", taken, durations)


def copy_rows(
    trace: Trace, case: Case, name: str, *, limit_bytes_per_s: float | None
) -> Iterator[Measured]:
    """The typical duration of copies of one size: the link's, or what a limited link adds to it."""
    for (kind, unit, _, _), durations in durations_s(trace, case).items():
        if kind in (Kind.H2D, Kind.D2H) and unit is not None:
            nbytes = float(case.cost.setting.unit_bytes(unit, case.recipe.wire_dtype))
            limited = limit_bytes_per_s is not None
            rate = {f"link.{kind.value.lower()}_bytes_per_s": nbytes, "link.latency_s": 1.0}
            yield Measured(
                group="limited copy in a run" if limited else "copy in a run",
                name=f"{name}, {kind} of unit {unit}",
                amounts={"cpu.throttle_s": 1.0} if limited else rate,
                seconds=_middle_mean(durations),
                known_s=nbytes / limit_bytes_per_s if limit_bytes_per_s is not None else 0.0,
            )


def gap_rows(trace: Trace, case: Case, name: str) -> Iterator[Measured]:
    """Gaps on the compute stream: between operations, and from a loss to the next step."""
    within: list[float] = []
    between: list[float] = []
    for before, after, gap_s in gaps(trace, case):
        if after.op.stream is Stream.COMPUTE and gap_s > 0.0:
            (between if before.op.kind is Kind.LOSS else within).append(gap_s)
    if within:
        yield _row("gap", f"{name}, gap", {"cpu.gap_s": 1.0}, within)
    if between:
        taken = gap(case.cost.setting, Kind.LOSS)
        yield _row("turnaround", f"{name}, turnaround", taken, between)


def durations_s(trace: Trace, case: Case) -> Mapping[Key, list[float]]:
    """Durations of the operations after the first steps, by what they cost alike."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    for span in trace.spans:
        if span.step >= WARM_UP_STEPS:
            found[cost_key(case.units, span.op)].append(span.duration_s)
    return found


def gaps(trace: Trace, case: Case) -> Iterator[tuple[Span, Span, float]]:
    """(what it waited for longest, operation, seconds in between) for all after the first steps."""
    spans = {(span.step, span.op.name): span for span in trace.spans}
    periods = -(-(1 + max(step for step, _ in spans)) // trace.steps_per_period)
    planned = unroll(case.program, periods=periods)
    for item in planned:
        after = spans.get((item.step, item.name))
        if after is None or item.step < WARM_UP_STEPS:
            continue
        before = _last(planned, item.deps, spans)
        if before is not None:
            yield before, after, after.start_s - before.end_s


def _last(
    planned: tuple[Unrolled, ...], deps: Iterable[int], spans: Mapping[tuple[int, str], Span]
) -> Span | None:
    found = (spans.get((planned[dep].step, planned[dep].name)) for dep in deps)
    return max((s for s in found if s is not None), key=lambda s: s.end_s, default=None)


def _row(group: str, name: str, taken: Amounts, seconds: list[float]) -> Measured:
    numbers = {key: float(amount) for key, amount in taken.items()}
    return Measured(group=group, name=name, amounts=numbers, seconds=_middle_mean(seconds))


def _middle_mean(durations: list[float]) -> float:
    """The mean without the lowest and the highest tenth: a run's mean, less what interrupts it."""
    ordered = sorted(durations)
    cut = len(ordered) // 10
    return fmean(ordered[cut : len(ordered) - cut])


def _label(key: Key) -> str:
    kind, unit, lanes, records = key
    where = "" if unit is None else f" of unit {unit}"
    return f"{kind.value}{where} {lanes or records or ''}".strip()
