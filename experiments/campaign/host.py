"""A calibration's measurements: micro-benchmarks, then short real runs of the engine."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, pairwise
from statistics import fmean, median

from analysis.fits.machine import Repeated, assumed
from analysis.fits.trace_rows import Counted, copy_rows, gap_rows, op_rows
from experiments.campaign.benchmarks import AFTER_RUNS, BEFORE_RUNS, Campaign, made
from experiments.campaign.designs import KINDS, calibration_runs, crowded_runs, reference_runs
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References
from experiments.screen import progress_bar
from zo2rt.measure.calm import Turn, calm_step
from zo2rt.measure.runs import MeasuredRun, Running, RunSpec, measured, opened
from zo2rt.measure.turns import TURNS, Rounds
from zo2sim.cost.measured import Measured
from zo2sim.machines.file import named
from zo2sim.predict.predict import predict
from zo2sim.simulate.trace import Trace

_TURNS, _STEPS = 10, 3
_LEAST_TURNS = 3  # of a quick look, of which a third still counts
_CROWDED, _CROWDED_TURNS = 6, 20
"""In ten turns a run repeats within 2 to 4 %, and the ratios that six runs give scatter by 0.2."""
_WARM_UP = 2
"""First steps of a run compile, allocate and touch memory for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Benchmarks; runs, and per run its rows; the references' steps and how steps scatter."""

    benches: tuple[Measured, ...]
    runs: tuple[MeasuredRun, ...]
    rows: tuple[tuple[Measured, ...], ...]
    again: Repeated

    @property
    def all_rows(self) -> list[Measured]:
        """All that was measured."""
        return [*self.benches, *chain(*self.rows)]

    def folds(self, count: int) -> Iterator[tuple[list[Measured], Sequence[MeasuredRun]]]:
        """Each of the runs left out in its turn: all that was measured but in them, and they."""
        for first in range(min(count, len(self.runs))):
            kept = (rows for number, rows in enumerate(self.rows) if number % count != first)
            yield [*self.benches, *chain(*kept)], self.runs[first::count]


def measure_host(campaign: Campaign) -> Found:
    """Everything that the constants of the host are fitted from."""
    specs = [*calibration_runs(campaign.count(4 * len(KINDS), 4), seed=campaign.seed)]
    rounds = Rounds(turns=campaign.count(_TURNS, _LEAST_TURNS), steps=_STEPS)
    num_benches = len(BEFORE_RUNS) + len(AFTER_RUNS)
    with progress_bar() as bar:
        total = num_benches + (rounds.turns + 1) * len(specs)
        done = partial(bar.advance, bar.add_task("measuring", total=total))
        before = [*made(BEFORE_RUNS, campaign, done)]
        runs = _measured(specs, rounds, done)
        after = [*made(AFTER_RUNS, campaign, done)]
    return _found((*before, *after), runs, rounds.turns)


def measure_crowded(campaign: Campaign) -> list[MeasuredRun]:
    """Runs of two devices, of which two tell how they slow each other, and more tell it better."""
    specs = [*islice(crowded_runs(), campaign.count(_CROWDED, 2))]
    rounds = Rounds(turns=campaign.count(_CROWDED_TURNS, _LEAST_TURNS), steps=_STEPS)
    with progress_bar() as bar:
        task = bar.add_task("two devices", total=(rounds.turns + 1) * len(specs))
        return _measured(specs, rounds, partial(bar.advance, task))


def _found(benches: tuple[Measured, ...], runs: Sequence[MeasuredRun], turns: int) -> Found:
    """What runs tell of the constants, with the drift taken out that the references had."""
    references_s = _references_s(runs)
    machine = assumed(named("this-host"), references_s)
    references = References.of(machine, [run.turns for run in runs])
    calm = [references.calm_step(predict(case_of(run.spec, machine)), run.turns) for run in runs]
    jitter = fmean(step.standard_error for step in calm) * (turns / TURNS) ** 0.5
    counted = (
        Counted(steps=own.steps_s, drift=references.drift_during(run.turns, own.steps_s))
        for run, own in zip(runs, calm, strict=True)
    )
    return Found(
        benches=benches,
        runs=tuple(runs),
        rows=tuple((*rows_of(*pair),) for pair in zip(runs, counted, strict=True)),
        again=Repeated(references_s=references_s, jitter_ratio=jitter),
    )


def _references_s(runs: Iterable[MeasuredRun]) -> tuple[float, float]:
    """The median step of the large reference, and of the small one."""
    seen = (turn.references_s for run in runs for turn in run.turns)
    large_s, small_s = (median(own) for own in zip(*seen, strict=True))
    return large_s, small_s


def _measured(
    specs: Sequence[RunSpec], rounds: Rounds, done: Callable[[], None]
) -> list[MeasuredRun]:
    """In turns with the references, all open at once."""
    with ExitStack() as stack:
        references = [stack.enter_context(opened(spec)) for spec in reference_runs()]
        running: list[Running] = []
        for spec in specs:
            running.append(stack.enter_context(opened(spec)))
            done()
        return measured(running, references, rounds, done)


def calm_steps(trace: Trace) -> Collection[int]:
    """The fastest third of the steps after the first ones, on a machine that does not drift."""
    took_s = {number: e - s for number, (s, e) in enumerate(pairwise(trace.losses_s), start=1)}
    steps_s = {number: seconds for number, seconds in took_s.items() if number >= _WARM_UP}
    if not steps_s:
        return ()
    turns = [Turn(steps_s=steps_s, references_s=())]
    return calm_step(turns, period=trace.steps_per_period).steps_s.keys()


def rows_of(run: MeasuredRun, counted: Counted | None = None) -> Iterator[Measured]:
    """What a run's trace says of the constants: its steps that count, or its calm ones."""
    spec, trace = run.spec, run.trace
    case, limit = case_of(spec), spec.link_bytes_per_s
    own = Counted(steps=calm_steps(trace)) if counted is None else counted
    yield from op_rows(trace, case, spec.name, own)
    yield from copy_rows(trace, case, spec.name, own, limit_bytes_per_s=limit)
    yield from gap_rows(trace, case, spec.name, own)
