"""A calibration's measurements: micro-benchmarks, then short real runs of the engine."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import psutil

from analysis.fits.machine import Repeated, assumed
from analysis.fits.trace_rows import Counted, copy_rows, gap_rows, op_rows
from experiments.campaign.designs import KINDS, calibration_runs, reference_runs
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References
from experiments.screen import progress_bar
from zo2rt.backends import HostBackend
from zo2rt.backends.process import intra_op_threads
from zo2rt.measure import codecs, disk, host_work, kernels, links, noise
from zo2rt.measure.calm import Turn, calm_step
from zo2rt.measure.runs import MeasuredRun, Running, RunSpec, measured, opened
from zo2rt.measure.timing import Effort, measure
from zo2rt.measure.turns import TURNS, Rounds
from zo2sim.cost.measured import Measured
from zo2sim.machines.file import named
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import Stream
from zo2sim.simulate.trace import Trace

_ROUNDS = Rounds(turns=10, steps=3)
_WARM_UP = 2
"""First steps of a run compile, allocate and touch memory for the first time."""
_LIMITS_BYTES_PER_S = (0.5e9, 1e9, 2e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """How much to measure, from which seed, and where files may be written for a moment."""

    effort: float
    seed: int
    folder: Path

    @property
    def rounds(self) -> Effort:
        return Effort(rounds=5 if self.effort >= 0.5 else 1)

    def count(self, whole: int, least: int) -> int:
        """A share of what a whole calibration measures."""
        return max(least, round(whole * self.effort))


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
    rows: list[Measured] = []
    specs = [*calibration_runs(campaign.count(4 * len(KINDS), 4), seed=campaign.seed)]
    parts = _parts(campaign)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(parts) + (_ROUNDS.turns + 1) * len(specs) + 1)
        done = partial(bar.advance, task)
        for part in parts:
            rows += part()
            done()
        runs = _measured(specs, done)
        rows += file_rows(campaign, time="last")
        done()
    seen = [turn.references_s for run in runs for turn in run.turns]
    large_s, small_s = (median(own) for own in zip(*seen, strict=True))
    before = assumed(named("this-host"), (large_s, small_s))
    references = References.of(before, [run.turns for run in runs])
    run_rows: list[tuple[Measured, ...]] = []
    standard_errors: list[float] = []
    for run in runs:
        calm = references.calm_step(predict(case_of(run.spec, before)), run.turns)
        drift = references.drift_during(run.turns, calm.steps_s)
        run_rows.append((*rows_of(run, Counted(steps=calm.steps_s, drift=drift)),))
        standard_errors.append(calm.standard_error)
    jitter = fmean(standard_errors) * (_ROUNDS.turns / TURNS) ** 0.5
    again = Repeated(references_s=(large_s, small_s), jitter_ratio=jitter)
    return Found(benches=tuple(rows), runs=tuple(runs), rows=tuple(run_rows), again=again)


def _measured(specs: Sequence[RunSpec], done: Callable[[], None]) -> list[MeasuredRun]:
    with ExitStack() as stack:
        references = [stack.enter_context(opened(spec)) for spec in reference_runs()]
        running: list[Running] = []
        for spec in specs:
            running.append(stack.enter_context(opened(spec)))
            done()
        return measured(running, references, _ROUNDS, done)


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


def _parts(campaign: Campaign) -> Sequence[Callable[[], list[Measured]]]:
    seed, effort = campaign.seed, campaign.rounds
    count = campaign.count(80, 8)

    def matrix() -> list[Measured]:
        benches = [*kernels.gemms(count, seed=seed), *kernels.attentions(count // 3, seed=seed)]
        with intra_op_threads(1):
            return [*measure(benches, effort, seed=seed)]

    def passes() -> list[Measured]:
        with intra_op_threads(1):
            return [*measure([*noise.passes(), *codecs.codecs()], effort, seed=seed)]

    def copies() -> list[Measured]:
        with HostBackend(own_core=True) as backend:
            free = [*links.one_way(backend), *links.both_ways(backend)]
            free += links.one_way(backend, links.SIZES[-2:], pinned=False)
        return [*free, *(row for rate in _LIMITS_BYTES_PER_S for row in links.limited(rate))]

    def handovers() -> list[Measured]:
        found: list[Measured] = []
        with HostBackend(own_core=True) as backend:  # where lanes run
            backend.launch(Stream.COMPUTE, lambda: found.extend(host_work.handovers()), label="")
            backend.synchronize()
        return found

    return (
        lambda: file_rows(campaign, time="first"),
        *(matrix, passes, copies, handovers),
        lambda: host_rows(campaign),
        lambda: file_rows(campaign, time="second"),
    )


def host_rows(campaign: Campaign) -> list[Measured]:
    """What the host does beside a device: encoding and updates on a core, and all cores' memory."""
    sizes, cores = host_work.ELEMENTS, psutil.cpu_count(logical=False) or 1
    benches = [*host_work.encodings(sizes), *host_work.updates(sizes)]
    with intra_op_threads(1):
        timed = measure(benches, campaign.rounds, seed=campaign.seed)
        return [*timed, *host_work.contention(cores)]


def file_rows(campaign: Campaign, *, time: str = "only") -> list[Measured]:
    """The drive under the campaign's folder: rows of one time are named alike.

    A drive changes from minute to minute by more than it scatters within one; measured at several
    times, its constants have intervals that hold what the minutes of a calibration changed.
    """
    with TemporaryDirectory(dir=campaign.folder) as folder:
        found = [*disk.fsyncs(Path(folder)), *disk.pieces(Path(folder))]
    return [replace(row, name=f"{row.name}, {time} time") for row in found]
