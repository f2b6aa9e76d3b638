"""Fine-tune a model with zeroth-order steps, and write the run's folder.

    python -m experiments.run
    python -m experiments.run --against resident
    python -m experiments.run --model DIR --data reviews.jsonl --plan auto --steps 2000 --out runs/a
    python -m experiments.run --resume --out runs/a
    torchrun --nproc-per-node 2 -m experiments.run --microbatches 2

Without arguments it pre-trains a small model on text that comes with Python, and then teaches it
to tell code from prose. A run that was stopped or killed goes on with --resume to the same bits,
with any number of ranks; rank 0 alone writes and prints.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the imports that read it

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from analysis.report.wording import counted
from experiments.answer.trust import summed, with_band
from experiments.campaign.recorded_run import write_spec
from experiments.case.sizes import show_bytes, show_number, show_seconds
from experiments.cli import DONE, FAILED, Answer, claim, finish, run, write_json
from experiments.folder import write as folder
from experiments.folder.write import JOURNAL
from experiments.screen import pairs
from experiments.training.history import History
from experiments.training.observation import Observation, Observed
from experiments.training.output import config_of, output
from experiments.training.progress import counter, interruptible, progress, reader, watcher
from experiments.training.result import Reading, Trained, TrainingRun, Watch, unheard
from experiments.training.settings import (
    PREDICTED_THREADS,
    Config,
    check_data,
    check_steps,
    resumed,
)
from experiments.training.setup import Setup, prepare
from experiments.training.tiny_model import PRETRAINING
from experiments.training.together import followed, leading
from zo2rt.backends.process import intra_op_threads
from zo2rt.exchange import Exchange, FirstFailed, joined
from zo2rt.journal import read, records_from, recovery
from zo2rt.journal.durable import Disk
from zo2rt.lock import one_writer
from zo2rt.measure.runs import RunSpec
from zo2rt.memory.room import UNLIMITED

_LONG = 2.0
"""Times the median step, a first step is told."""


def main(config: Config) -> int:
    with joined() as exchange:
        if exchange.rank > 0:
            return _follow(exchange)
        with ExitStack() as held:
            with leading(exchange) as go:
                held.enter_context(one_writer(config.out))
                config, prepared = _begin(config)
                go(config)
            return _run(config, prepared, exchange)


def _begin(config: Config) -> tuple[Config, Setup]:
    """All that is checked, made and written before the first step."""
    stored = config.out / "config.json"
    if not config.no_report:
        folder.typesetters()
    if config.resume:
        config = resumed(config, stored)
        check_steps(config, _done(config.out))
    elif (config.out / JOURNAL).exists():
        raise ValueError(
            f"--out {config.out} holds a run already; go on with it (--resume --out {config.out}), "
            f"or choose another folder"
        )
    config = config.resolved
    with progress() as bar:
        prepared = prepare(config, counter(bar, "pre-training", total=PRETRAINING.steps))
    if prepared.loaded_whole is not None:
        print(f"note: {prepared.loaded_whole}", file=sys.stderr)
    content = config_of(config, prepared)
    if config.resume:
        check_data(config, stored, content["data"])
    claim(config.out, "run")
    write_json(str(stored), content)
    return config, prepared


def _run(config: Config, prepared: Setup, exchange: Exchange) -> int:
    with interruptible() as stopped:  # to the end: what is written of the run is whole
        with progress() as bar, intra_op_threads(config.num_threads):
            found = _train(config, prepared, exchange, bar, stopped)
        return _tell(config, prepared, *found)


def _follow(exchange: Exchange) -> int:
    """Another rank than the first: it computes, and says nothing unless it must."""
    try:
        config = followed(exchange)
        prepared = prepare(config, lambda _: None)
        with interruptible() as stopped, intra_op_threads(config.num_threads):
            watch = Watch(show=lambda _: None, stopped=stopped)
            for training in _training(config, prepared, exchange, unheard):
                trained = training.run(prepared, lambda _: History(), lambda _: watch)
                if trained.num_steps < config.steps:
                    break
    except FirstFailed:
        return FAILED
    return DONE


def _tell(
    config: Config,
    prepared: Setup,
    trained: Trained,
    reference: Trained | None,
    observed: Observed,
) -> int:
    """Write the folder and the answer; the exit code."""
    written = output(config, prepared, trained, reference, observed)
    if config.backend != "virtual":  # whose time tells nothing of a machine
        write_spec(config.out, _spec(config, prepared))
    finished = trained.num_steps >= config.steps
    trouble = written.summary["trouble"]
    folder.write_run(config.out, written, typeset=finished and not config.no_report)
    answer = Answer(
        written.summary,
        lambda: _print(written.summary, trained, config.out, observed.notes),
        yes=trained.divergence is None and not written.summary["differs_in"],
    )
    code = finish(answer, config.json)
    if trouble is not None:
        print(f"error: {trouble}", file=sys.stderr)
    return code if finished and trouble is None else FAILED


def _done(out: Path) -> int:
    """Steps of the journal; a run that was killed before it had one has made none."""
    path = out / JOURNAL / recovery.JOURNAL
    return read(Disk(), path).position.step if path.exists() else 0


def _spec(config: Config, prepared: Setup) -> RunSpec:
    """What `calibrate --from-run` reads beside the trace."""
    return RunSpec(
        name=config.out.name,
        config=prepared.model_config,
        plan=prepared.plan,
        recipe=prepared.recipe,
    )


def _training(
    config: Config, prepared: Setup, exchange: Exchange, reading: Reading
) -> list[TrainingRun]:
    """The run, and the one that it is compared with, if there is one."""
    training = TrainingRun(
        backend=config.backend,
        own_core=config.num_threads == PREDICTED_THREADS,
        plan=prepared.plan,
        optimizer=config.optimizer,
        course=config.course,
        blocks=config.blocks,
        folder=config.out,
        limit=config.limit,
        exchange=exchange,
        reading=reading,
    )
    if config.reference is None:
        return [training]
    course = replace(config.course, snapshots=False)
    kept: dict[str, Any] = {"course": course, "folder": None, "limit": UNLIMITED}
    return [training, replace(training, plan=config.reference, **kept)]


def _train(
    config: Config,
    prepared: Setup,
    exchange: Exchange,
    bar: Progress,
    stopped: Callable[[], bool],
) -> tuple[Trained, Trained | None, Observed]:
    """The run, the one that it is compared with, and what the machine did during the first."""
    file, journal = config.out / "steps.jsonl", config.out / JOURNAL / recovery.JOURNAL
    training, *others = _training(config, prepared, exchange, reader(bar))
    observation = Observation(config.backend)

    def watching(title: str, done: int) -> Watch:
        show = watcher(bar, title, total=config.steps, done=done)
        return Watch(show=show, stopped=stopped)

    def observing(done: int) -> Watch:
        watch = watching(prepared.plan.policy, done)
        return replace(watch, show=observation.seeing(watch.show))

    with observation:
        trained = training.run(
            prepared,
            lambda done: History.resumed(
                file,
                done,
                lambda step: records_from(Disk(), journal, step),
                tokens=prepared.recipe.tokens_per_step,
            ),
            observing,
        )
    observed = observation.observed
    if not others or trained.num_steps < config.steps:
        return trained, None, observed
    against = str(config.against)
    reference = others[0].run(prepared, lambda _: History(), lambda _: watching(against, 0))
    return trained, None if reference.num_steps < config.steps else reference, observed


def _print(
    summary: Mapping[str, Any], trained: Trained, out: Path, not_sampled: Sequence[str]
) -> None:
    console = Console()
    for line in trained.damaged:
        console.print(f"passed over: {line}", markup=False)
    console.print(f"{summary['model']} on {summary['task']}, {summary['policy']}", markup=False)
    console.print(pairs(_rows(summary)))
    if unused := summary["unused_weights"]:
        console.print(
            f"in the model's folder, but not in its class: {summed(unused)}", markup=False
        )
    for note in (summary["worse"], summary["swallowed_note"]):
        if note is not None:
            console.print(note, markup=False)
    console.print(f"written to {out}", markup=False, soft_wrap=True)
    if summary["steps"] < summary["steps_wanted"]:
        console.print(
            f"stopped after {summary['steps']} of {summary['steps_wanted']} steps; go on with\n"
            f"  zo2sim run --resume --out {out}",
            markup=False,
        )
    for note in not_sampled:
        console.print(f"not sampled: {note}", markup=False)


def _rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "steps", f"{summary['steps']} of {summary['steps_wanted']}"
    yield "training loss", _change(summary, "training_loss_early", "training_loss_late", ".3f")
    yield "held-out loss", _change(summary, "held_out_loss_before", "held_out_loss_after", ".3f")
    if summary["skipped_steps"]:
        yield "skipped", f"{counted(summary['skipped_steps'], 'step')}: a loss was not finite"
    if summary["accuracy_after"] is not None:
        yield (
            "held-out accuracy",
            " -> ".join(_accuracy(summary, f"accuracy_{when}") for when in ("before", "after")),
        )
    if summary["step_s"] is not None:
        on = f", on {counted(summary['threads'], 'thread')}" if summary["backend"] == "host" else ""
        of = f", on {summary['ranks']} ranks" if summary["ranks"] > 1 else ""
        yield "step", f"{show_seconds(summary['step_s'])} in the median{on}{of}"
        yield from _first_step(summary)
        yield from _predicted(summary["predicted"], summary["backend"])
        yield "tokens/s", show_number(summary["tokens_per_s"])
        yield "exposed", f"{summary['exposed_share']:.1%} of the step"
    if "devices" in summary:
        yield "devices", f"{summary['devices']}, {summary['placement']}"
    yield "device buffers", show_bytes(summary["device_bytes"])
    if summary["host_rss_bytes"] is not None:
        yield "process, at most", show_bytes(summary["host_rss_bytes"])
    if summary["energy_per_step_j"] is not None:
        yield "energy per step", f"{summary['energy_per_step_j']:.4g} J"
    yield (
        "executed",
        "as scheduled" if summary["executed_as_scheduled"] else escape(summary["divergence"]),
    )
    if summary["differs_in"] is not None:
        differs = ", ".join(summary["differs_in"])
        same = f"differs in {differs}" if differs else "the same bits"
        yield f"against {summary['compared_with']}", same


def _first_step(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where it took much longer than the others do."""
    if summary["first_step_s"] > _LONG * summary["step_s"]:
        yield "first step", f"{show_seconds(summary['first_step_s'])}, with all that is made once"


def _predicted(found: Mapping[str, Any] | None, backend: str) -> Iterator[tuple[str, str]]:
    if found is None and backend == "host":
        yield "predicted", "nothing: no calibration of this machine was given, for this kind of run"
        yield "", "zo2sim calibrate --quick, then --machine machine.toml"
    if found is not None:
        step = with_band(found["step_s"], found["low_s"], found["high_s"], show_seconds)
        yield "predicted", f"{step} on {escape(found['machine'])}"
        if not found["comparable"]:
            other = f"predicted for {counted(found['threads'], 'thread')}; --threads 1 runs so"
            yield "", f"[yellow]not comparable: {other}[/]"
        yield "hold-out error", escape(found["hold_out_error"])
        yield "extrapolated", escape(found["extrapolated"])


def _accuracy(summary: Mapping[str, Any], name: str) -> str:
    """With its standard error."""
    if summary[name] is None:
        return "none"
    return f"{summary[name]:.1%} \u00b1 {summary[f'{name}_standard_error']:.1%}"


def _change(summary: Mapping[str, Any], before: str, after: str, form: str) -> str:
    texts = ("none" if summary[k] is None else format(summary[k], form) for k in (before, after))
    return " -> ".join(texts)


if __name__ == "__main__":
    sys.exit(run(main, Config))
