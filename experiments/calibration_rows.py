"""A calibration's measurements: micro-benchmarks, then short real runs of the engine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import median, stdev
from tempfile import TemporaryDirectory

from analysis.trace_rows import WARM_UP_STEPS, copy_rows, gap_rows, op_rows
from experiments.progress import progress_bar
from experiments.recorded_run import case_of
from experiments.run_design import calibration_runs, reference_run
from zo2rt.backends import HostBackend
from zo2rt.measure import disk, kernels, links, noise
from zo2rt.measure.runs import RunSpec, opened, single_threaded
from zo2rt.measure.timing import Effort, measure
from zo2sim.case import Case
from zo2sim.measured import Measured
from zo2sim.trace import Trace

_STEPS = 12
_REPETITIONS = 6  # of the reference, spread over the runs, for the jitter
_LIMITS_BYTES_PER_S = (0.5e9, 1e9, 2e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """How much to measure, from which seed, and where files may be written for a moment."""

    effort: float
    seed: int
    folder: Path

    @property
    def rounds(self) -> Effort:
        return Effort(rounds=3 if self.effort >= 0.5 else 1)

    def count(self, whole: int, least: int) -> int:
        """A share of what a whole calibration measures."""
        return max(least, round(whole * self.effort))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows, the relative spread of one run repeated, and what ran."""

    rows: tuple[Measured, ...]
    jitter_ratio: float
    cases: tuple[Case, ...]


def measure_host(campaign: Campaign) -> Found:
    """Everything that the constants of the host are fitted from."""
    rows: list[Measured] = []
    reference: list[float] = []
    specs = [*calibration_runs(campaign.count(30, 4), seed=campaign.seed)]
    every = max(1, len(specs) // _REPETITIONS)
    parts = _parts(campaign)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(parts) + len(specs))
        for part in parts:
            rows += part()
            bar.advance(task)
        for number, spec in enumerate(specs):
            rows += rows_of(spec, traced(spec))
            if number % every == 0:
                reference.append(step_s(traced(reference_run())))
            bar.advance(task)
    return Found(
        rows=tuple(rows),
        jitter_ratio=stdev(map(log, reference)),
        cases=tuple(case_of(spec) for spec in (*specs, reference_run())),
    )


def rows_of(spec: RunSpec, trace: Trace) -> Iterator[Measured]:
    """What a run's trace says of the constants."""
    case = case_of(spec)
    yield from op_rows(trace, case, spec.name)
    yield from copy_rows(trace, case, spec.name, limit_bytes_per_s=spec.link_bytes_per_s)
    yield from gap_rows(trace, case, spec.name)


def traced(spec: RunSpec) -> Trace:
    """A short run's trace."""
    with opened(spec) as running:
        running.steps_s(_STEPS, warm_up=0)
        return running.trace()


def step_s(trace: Trace) -> float:
    """The median step, after the first ones."""
    losses = trace.losses_s[WARM_UP_STEPS:]
    return median(after - before for before, after in pairwise(losses))


def _parts(campaign: Campaign) -> Sequence[Callable[[], list[Measured]]]:
    seed, effort = campaign.seed, campaign.rounds
    count = campaign.count(80, 8)

    def matrix() -> list[Measured]:
        benches = [*kernels.gemms(count, seed=seed), *kernels.attentions(count // 3, seed=seed)]
        with single_threaded():
            return [*measure(benches, effort, seed=seed)]

    def passes() -> list[Measured]:
        with single_threaded():
            return [*measure([*noise.passes()], effort, seed=seed)]

    def copies() -> list[Measured]:
        with HostBackend(own_core=True) as backend:
            free = [*links.one_way(backend), *links.both_ways(backend)]
        return [*free, *(row for rate in _LIMITS_BYTES_PER_S for row in links.limited(rate))]

    def files() -> list[Measured]:
        with TemporaryDirectory(dir=campaign.folder) as folder:
            return [*disk.fsyncs(Path(folder)), *disk.pieces(Path(folder))]

    return matrix, passes, copies, files
