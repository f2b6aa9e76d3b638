"""Predict a whole grid of cases and write a report.

    python -m experiments.sweep
    python -m experiments.sweep --preset throughput --axis machine=h100-sxm-80gb,l40s-48gb
    python -m experiments.sweep --preset none --model qwen3-8b --axis num-slots=1,2,4

    python -m experiments.sweep --scheduler tcp://host:8786 --axis ...

An interrupted sweep goes on where it stopped when it is started again with the same --out. Its
results are the same on any number of processes or on the workers of a dask cluster.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro
from rich.console import Console
from rich.markup import escape

from analysis.report.wording import NARROW_SPACE, SPACE, counted
from experiments.case.axes import parse_axes
from experiments.case.sizes import show_number
from experiments.case.target import SITE, Target
from experiments.cli import Answer, claim, finish, run
from experiments.entry.flags import PLAN, RECIPE, refuse, without
from experiments.folder.provenance import provenance
from experiments.folder.traces import TraceFormat
from experiments.folder.write import Run, typesetters, write_run
from experiments.jobs.answers import Answers
from experiments.jobs.cluster import cluster
from experiments.jobs.grid import expand
from experiments.jobs.job import Job
from experiments.jobs.pool import run_jobs
from experiments.jobs.presets import PRESETS
from experiments.jobs.records import write_records
from experiments.jobs.report import headline, summary, with_report
from experiments.jobs.workers import Crew, chosen
from experiments.screen import working
from zo2rt.lock import one_writer

Preset = Literal[
    "none",
    "paper",
    "memory",
    "throughput",
    "ablation",
    "timeline",
    "break-even",
    "both-ways",
    "opt175b-18gb",
    "one-to-eight",
]
assert {"none", *PRESETS} == set(Preset.__args__)


@dataclass(frozen=True, kw_only=True)
class Config(Target):
    """Predict a whole grid of cases and write a report."""

    preset: Preset = "paper"
    """Questions to answer; 'none' takes the one case that the other flags describe."""
    axis: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Values to multiply with, e.g. 'num-slots=1,2,4' or 'link.latency_us=5,10'; repeatable."""
    out: Path = Path("runs/sweep")
    """Folder of the run."""
    jobs: int | None = None
    """Worker processes; otherwise one per core."""
    scheduler: str | None = None
    """Address of a dask scheduler whose workers predict instead, e.g. tcp://host:8786."""
    seed: int = 0
    """Recorded with the run; a prediction draws nothing at random."""
    no_bands: bool = False
    """Predict without 90 % bands, which take about a quarter of the time."""
    no_report: bool = False
    """Write the records only."""
    trace_format: TraceFormat = "perfetto"
    json: str | None = None
    """Write the summary as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """With the flags as ``given``; ``ValueError`` where one has no effect."""
        if self.preset != "none" and flags & {*PLAN, *RECIPE, *SITE, "--plan"}:
            raise ValueError(
                "the flags of a plan describe a case, and --preset "
                f"{self.preset} brings its own; use --preset none, or --axis FIELD=VALUE,..."
            )
        without(flags, self.axis, by="--axis")
        if self.no_report:
            refuse(flags, ("--trace-format",), "with --no-report")
        return super().typed(flags)


def main(config: Config) -> int:
    if not config.no_report:
        typesetters()
    base = tuple(replace(job, bands=job.bands and not config.no_bands) for job in _base(config))
    axes = parse_axes(config.axis)
    jobs = [*expand(base, axes)]
    crew = _crew(config, most=len(jobs))
    claim(config.out, "sweep")
    with one_writer(config.out), Answers(config.out / "answers.jsonl") as answers:
        try:
            run_jobs(jobs, answers, crew, total=len(jobs))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; {len(answers)} answers are kept, and the same command goes on "
                "from there"
            ) from None
        write_records(config.out, jobs, answers)
        table = headline(jobs, answers)
        run = Run(
            verb="sweep",
            config={"preset": config.preset, "axes": axes, "base": [_settings(j) for j in base]},
            summary=summary(jobs, table),
            provenance=provenance(seed=config.seed, machines={job.spec.machine for job in jobs}),
        )
        with working("writing the records" if config.no_report else "writing the report"):
            if not config.no_report:
                run = with_report(run, jobs, answers, table, trace_format=config.trace_format)
            write_run(config.out, run, typeset=not config.no_report)
    answer = Answer(run.summary, lambda: _print(run, config.out, Console()))
    return finish(answer, config.json)


def _crew(config: Config, *, most: int) -> Crew:
    if config.scheduler is None:
        return chosen(jobs=config.jobs, most=most)
    if config.jobs is not None:
        raise ValueError("give --jobs or --scheduler, not both: its workers do the work")
    return cluster(config.scheduler)


def _print(run: Run, out: Path, console: Console) -> None:
    """What was found, in the report's words, and where everything is."""
    said = run.summary
    if run.document is not None:
        words = "".join(piece for piece in run.document.abstract if isinstance(piece, str))
        console.print(escape(_plain(words)), highlight=False)
        console.print()
    count = f"{counted(said['num_jobs'], 'prediction')}, {said['num_fitting']:.0f} fit"
    if said["fastest_tokens_per_s"] is not None:
        count += f"; the fastest has {show_number(said['fastest_tokens_per_s'])} tokens/s"
    console.print(count, highlight=False)
    for machine, words in said["hold_out_errors"].items():
        console.print(f"hold-out error of {escape(machine)}: {escape(words)}", highlight=False)
    for name in ("report.html", "report.pdf", "records.csv"):
        if (out / name).exists():
            console.print(f"  {escape(str(out / name))}", highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Without the spaces at which no line may break: a terminal counts them as it likes."""
    return text.replace(SPACE, " ").replace(NARROW_SPACE, ",")


def _base(config: Config) -> tuple[Job, ...]:
    """What the axes multiply: the preset's jobs, or the case that the flags describe."""
    if config.preset == "none":
        return (Job(question="grid", label=config.spec.plan.policy, spec=config.spec),)
    return tuple(PRESETS[config.preset]())


def _settings(job: Job) -> dict[str, Any]:
    return {"question": job.question, "label": job.label, **job.spec.fields}


if __name__ == "__main__":
    sys.exit(run(main, Config))
