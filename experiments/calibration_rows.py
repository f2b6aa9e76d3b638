"""A calibration's measurements: micro-benchmarks, then short real runs of the engine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from analysis.machine_fit import Repeated
from analysis.trace_rows import Turns, copy_rows, gap_rows, op_rows, settled
from experiments.progress import progress_bar
from experiments.recorded_run import case_of
from experiments.run_design import calibration_runs, reference_run
from zo2rt.backends import HostBackend
from zo2rt.measure import disk, host_work, kernels, links, noise
from zo2rt.measure.runs import Running, RunSpec, counted_steps, opened, single_threaded
from zo2rt.measure.timing import Effort, measure
from zo2sim.case import Case
from zo2sim.measured import Measured
from zo2sim.trace import Trace

_TURNS = 4
"""Runs take turns, so that what the machine does meanwhile hits none of them alone."""
_STEPS, _WARM_UP = 5, 2
_BETWEEN = 4  # runs between two turns of the reference, whose spread is the jitter
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
    """The rows, what ran, and the step of one run repeated: its median and relative spread."""

    rows: tuple[Measured, ...]
    again: Repeated
    cases: tuple[Case, ...]


def measure_host(campaign: Campaign) -> Found:
    """Everything that the constants of the host are fitted from."""
    rows: list[Measured] = []
    specs = [*calibration_runs(campaign.count(32, 4), seed=campaign.seed)]
    parts = _parts(campaign)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=len(parts) + (_TURNS + 1) * len(specs))
        done = partial(bar.advance, task)
        for part in parts:
            rows += part()
            done()
        traces, again_s = _in_turns(specs, done)
    turns = counted_steps(_TURNS, _STEPS, warm_up=_WARM_UP)
    for spec, trace in zip(specs, traces, strict=True):
        rows += rows_of(spec, trace, turns)
    return Found(
        rows=tuple(rows),
        again=Repeated(step_s=median(again_s), jitter_ratio=_spread([log(s) for s in again_s])),
        cases=tuple(case_of(spec) for spec in (*specs, reference_run())),
    )


def _in_turns(
    specs: Sequence[RunSpec], done: Callable[[], None]
) -> tuple[list[Trace], list[float]]:
    """A trace per run, and the step times of the reference in between."""
    again_s: list[float] = []
    with ExitStack() as stack:
        reference = stack.enter_context(opened(reference_run()))
        running: list[Running] = []
        for spec in specs:
            running.append(stack.enter_context(opened(spec)))
            done()
        for number, one in enumerate(_TURNS * running):
            if number % _BETWEEN == 0:
                again_s.append(reference.steps_s(_STEPS, warm_up=_WARM_UP))
            one.steps_s(_STEPS, warm_up=_WARM_UP)
            done()
        return [one.trace() for one in running], again_s


def _spread(logs: Sequence[float]) -> float:
    """Standard deviation of what is not disturbed: from the median absolute deviation."""
    middle = median(logs)
    return 1.4826 * median(abs(one - middle) for one in logs)


def rows_of(spec: RunSpec, trace: Trace, turns: Turns | None = None) -> Iterator[Measured]:
    """What a run's trace says of the constants: its turns, or all after the first steps."""
    case, counted = case_of(spec), settled(trace) if turns is None else turns
    yield from op_rows(trace, case, spec.name, counted)
    limit = spec.link_bytes_per_s
    yield from copy_rows(trace, case, spec.name, counted, limit_bytes_per_s=limit)
    yield from gap_rows(trace, case, spec.name, counted)


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
            free += links.one_way(backend, links.SIZES[-2:], pinned=False)
        return [*free, *(row for rate in _LIMITS_BYTES_PER_S for row in links.limited(rate))]

    return (
        *(matrix, passes, copies),
        lambda: host_rows(campaign),
        lambda: file_rows(campaign),
    )


def host_rows(campaign: Campaign) -> list[Measured]:
    """What the host does beside a device: encoding and updates on a core, and all cores' memory."""
    sizes, cores = host_work.ELEMENTS, psutil.cpu_count(logical=False) or 1
    benches = [*host_work.encodings(sizes), *host_work.updates(sizes)]
    with single_threaded():
        timed = measure(benches, campaign.rounds, seed=campaign.seed)
        return [*timed, *host_work.contention(cores)]


def file_rows(campaign: Campaign) -> list[Measured]:
    """The drive under the campaign's folder."""
    with TemporaryDirectory(dir=campaign.folder) as folder:
        return [*disk.fsyncs(Path(folder)), *disk.pieces(Path(folder))]
