"""Which operations are mispredicted, and which constant of the machine that points at."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp, log
from statistics import fmean, median

from zo2sim.cost import CostModel, cost_key
from zo2sim.cost.cpu import seconds_per
from zo2sim.cost.parts import KERNELS, parts_s
from zo2sim.machines.machine import Machine
from zo2sim.predict.case import Case
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.trace import Trace

_GAPS = ("cpu.gap_s", "cpu.turnaround")
SUSPICIOUS = 0.25
"""Log ratio from which on a kind of operation is said to be mispredicted throughout."""
LIMIT = "the limit of the link"
"""In place of a constant where a run's own limit sets the pace: no machine is to blame."""
FEWEST = 3
"""Configurations that must have operations of a constant before it is blamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpError:
    """Operations of one configuration that cost alike: predicted and measured mean durations.

    ``constant`` is the machine's constant that makes up most of the prediction, and ``low_s`` and
    ``high_s`` are what is predicted at the ends of that constant's interval; ``per_step`` is how
    many of the operations a step has.
    """

    configuration: str
    op: str
    kind: Kind
    per_step: float
    predicted_s: float
    measured_s: float
    constant: str
    low_s: float
    high_s: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted_s / self.measured_s

    @property
    def unexplained(self) -> float:
        """Log of the ratio to the measurement, from the nearer end; 0 between the ends."""
        if self.low_s <= self.measured_s <= self.high_s:
            return 0.0
        return log((self.low_s if self.low_s > self.measured_s else self.high_s) / self.measured_s)

    @property
    def effect_s(self) -> float:
        """What the error adds to a step, were all of it exposed."""
        return (self.predicted_s - self.measured_s) * self.per_step


def op_errors(
    trace: Trace, case: Case, measured_s: Mapping[str, float], name: str
) -> Iterator[OpError]:
    """One row per kind of operation that takes time; ``measured_s`` is by operation's name.

    ``case`` is on the machine as it was meanwhile: measurements are compared as they are.
    """
    cost, rates = case.cost, case.cost.rates
    alike: defaultdict[object, list[Op]] = defaultdict(list)
    for op in case.program.period.ops:
        alike[cost_key(case.model, op, case.plan)].append(op)
    for ops in alike.values():
        first = ops[0]
        work = cost(first)
        predicted_s = float(work.alone_s(rates) - work.gap_s)
        seen = [measured_s[op.name] for op in ops if op.name in measured_s]
        if seen and predicted_s > 0.0 and first.kind is not Kind.JOURNAL:
            parts, machine = _own_parts_s(cost, first), cost.setting.machine
            constant = _constant(parts, machine)
            known = constant not in (KERNELS, LIMIT)
            less_s, more_s = _open_s(parts[constant], constant, machine) if known else (0.0, 0.0)
            yield OpError(
                configuration=name,
                op=first.name if len(ops) == 1 else f"{first.name} and {len(ops) - 1} alike",
                kind=first.kind,
                per_step=len(ops) / trace.steps_per_period,
                predicted_s=predicted_s,
                measured_s=fmean(seen),
                constant=constant,
                low_s=predicted_s - less_s,
                high_s=predicted_s + more_s,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A constant that the median of ``count`` configurations blames.

    ``ratio`` is predicted over measured.
    """

    constant: str
    kind: Kind
    ratio: float
    count: int

    @property
    def sentence(self) -> str:
        """For a person to read."""
        slower = self.ratio > 1.0
        factor = self.ratio if slower else 1.0 / self.ratio
        return (
            f"{self.constant}: {self.kind} is predicted {factor:.2g}x too "
            f"{'long' if slower else 'short'} in the median of {self.count} configurations"
        )


def suspects(errors: Iterable[OpError]) -> tuple[Suspect, ...]:
    """Constants whose operations are off by more than `SUSPICIOUS` in the median, worst first.

    That is beyond the constant's own interval: what a calibration says that it does not know, no
    validation needs to expose. Each configuration has one vote, the median of its operations,
    however many rows it has. Those of fewer than `FEWEST` configurations are left out: one
    disturbed run can make them.
    """
    own: defaultdict[tuple[str, Kind], defaultdict[str, list[OpError]]]
    own = defaultdict(lambda: defaultdict(list))
    for error in errors:
        own[error.constant, error.kind][error.configuration].append(error)
    found: list[Suspect] = []
    for (constant, kind), by_configuration in own.items():
        rows = by_configuration.values()
        votes = [median(error.unexplained for error in errors) for errors in rows]
        if len(votes) >= FEWEST and abs(median(votes)) > SUSPICIOUS:
            ratio = exp(median(median(log(error.ratio) for error in errors) for errors in rows))
            found.append(Suspect(constant=constant, kind=kind, ratio=ratio, count=len(votes)))
    return tuple(sorted(found, key=lambda suspect: -abs(log(suspect.ratio))))


def _own_parts_s(cost: CostModel, op: Op) -> Mapping[str, float]:
    """By constant; gaps after an operation are not its own."""
    return {k: s for k, s in parts_s(cost, op).items() if not k.startswith(_GAPS)}


def _constant(parts: Mapping[str, float], machine: Machine) -> str:
    """The constant that takes most of an operation's own time."""
    key = max(parts, key=lambda key: parts[key], default=KERNELS)
    return LIMIT if machine.is_limited(key) else key


def _open_s(part_s: float, constant: str, machine: Machine) -> tuple[float, float]:
    """By how much less and more a constant's part takes at the ends of its interval."""
    known = machine.quantity(constant)
    least, most = sorted(seconds_per(constant, end) for end in known.interval)
    each = seconds_per(constant, known.value)
    return part_s * (1.0 - least / each), part_s * (most / each - 1.0)
