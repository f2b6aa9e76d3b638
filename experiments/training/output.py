"""What a run leaves in its folder: records, summary, figures, trace and report."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import pandas as pd

from analysis.plots.learning import learning
from analysis.plots.machine_use import machine_use
from analysis.plots.timeline import timeline
from analysis.report.commands.finetuning import finetuning_document
from analysis.report.document import TRACE
from experiments.answer.trust import Trust
from experiments.folder import write as folder
from experiments.folder.provenance import provenance, run_id
from experiments.folder.traces import trace_text
from experiments.folder.write import Run
from experiments.training.history import Evaluation
from experiments.training.observation import Observed
from experiments.training.result import Trained, differences
from experiments.training.settings import PREDICTED_THREADS, Config, settings_of
from experiments.training.setup import Setup
from experiments.training.trouble import trouble
from experiments.training.verdict import Verdict
from zo2rt.steps.outcome import Outcome
from zo2rt.weights.swallowed import told
from zo2sim.plan.choices import Plan
from zo2sim.plan.file import fields_of
from zo2sim.predict.own_lanes import ranks_step
from zo2sim.predict.predict import Prediction
from zo2sim.simulate.trace import Trace, Window

_STEP_UNITS = {"loss": "nat", "g": "nat", "lr": "1", "wall_s": "s", "exposed_s": "s"}
_EVALUATION_UNITS = {"held_out_loss": "nat", "accuracy": "1"}
_EARLY_AND_LATE = 10  # the mean loss over one in so many steps, at both ends


def output(
    config: Config, prepared: Setup, run: Trained, reference: Trained | None, observed: Observed
) -> Run:
    """Everything that `experiments.folder.write.write_run` writes."""
    summary = summary_of(config, prepared, run, reference) | observed.summary
    packages = {name: version(name) for name in ("torch", "transformers")}
    source = provenance(seed=config.seed, machines=()) | packages
    evaluations = run.history.evaluation_table()
    candidates = prepared.task.candidates
    figures = {
        "learning": learning(
            run.history.step_table(),
            evaluations,
            label=prepared.plan.policy,
            reference=_reference(config, reference),
            chance=1.0 / len(candidates) if candidates else None,
        )
    }
    window = _shown(run.trace)
    if window is not None:
        figures["timeline"] = timeline(run.trace, window)
    if len(observed.samples) > 1:
        figures["machine"] = machine_use(observed.table)
    name = f"{config.model}, {prepared.plan.policy}"
    return Run(
        verb="run",
        config=config_of(config, prepared),
        summary=summary,
        provenance=source,
        records=folder.records([*_records(config, prepared, run, observed)]),
        samples=observed.table,
        figures=figures,
        traces={TRACE: trace_text(run.trace, config.trace_format, name=name, metadata=source)},
        document=finetuning_document(
            summary,
            **_plan(prepared),
            provenance=source,
            has_timeline=window is not None,
            has_samples="machine" in figures,
        ),
    )


def config_of(config: Config, prepared: Setup) -> dict[str, Any]:
    """Every setting as resolved, what the data was, and where the folder lies."""
    settings = settings_of(config) | {"plan_from": None, **_plan(prepared)}
    task = prepared.task
    data = {
        "task": task.name,
        "data_sha256": task.sha256,
        "tokens_sha256": prepared.reading.tokens_sha256,
        "training_examples": len(task.training),
        "held_out_examples": len(task.held_out),
        "candidates": list(task.candidates),
    }
    return {"folder": str(config.out.absolute()), "settings": settings, "data": data}


def summary_of(
    config: Config, prepared: Setup, run: Trained, reference: Trained | None
) -> dict[str, Any]:
    """Headline numbers; None for what is not known."""
    steps, evaluations = run.history.steps, run.history.evaluations
    wall_s, exposed_s = (_known(getattr(s, n) for s in steps) for n in ("wall_s", "exposed_s"))
    return {
        "run_id": _run_id(config, prepared),
        "model": config.model,
        "unused_weights": list(prepared.unused_weights),
        "task": prepared.task.name,
        "policy": str(prepared.plan.policy),
        "backend": config.backend,
        **_devices(prepared.plan),
        "threads": config.num_threads,
        "steps": run.num_steps,
        "steps_wanted": config.steps,
        "trouble": trouble(run.history, prepared.reading),
        "skipped_steps": sum(s.skipped for s in steps),
        "training_loss_early": _mean_loss(steps[: _share(steps)]),
        "training_loss_late": _mean_loss(steps[-_share(steps) :]),
        **_before_and_after(config, prepared, evaluations),
        **speed(steps),
        "exposed_share": sum(exposed_s) / sum(wall_s) if wall_s else None,
        "ranks": run.ranks,
        "predicted": _predicted(prepared.prediction, config.num_threads, run.ranks),
        "device_bytes": run.device_bytes,
        "swallowed": run.swallowed,
        "swallowed_note": _swallowed(config, run),
        "weights_sha256": run.weights_sha256,
        "executed_as_scheduled": run.divergence is None,
        "divergence": run.divergence,
        "compared_with": None if config.against is None else str(config.against),
        "differs_in": None if reference is None else list(differences(run, reference)),
    }


def speed(steps: Sequence[Outcome]) -> dict[str, float | None]:
    """Seconds and tokens per second of the median step, and what the first one took.

    The median of all rates would be another step's, where few steps differ much.
    """
    wall_s = _known(s.wall_s for s in steps)
    step_s = _median(wall_s)
    return {
        "tokens_per_s": step_s and statistics.median(s.tokens for s in steps) / step_s,
        "step_s": step_s,
        "first_step_s": wall_s[0] if wall_s else None,
    }


def _devices(plan: Plan) -> dict[str, Any]:
    """What several devices share, and how."""
    if plan.devices == 1:
        return {}
    return {"devices": plan.devices, "placement": plan.placement, "lane_groups": plan.lane_groups}


def _predicted(
    prediction: Prediction | None, num_threads: int, ranks: int
) -> dict[str, Any] | None:
    """The step as predicted, how far to trust that, and whether the run was one of its kind.

    Of several ranks the band is one process's, scaled.
    """
    if prediction is None or (ranks > 1 and prediction.case.recipe.perturbation == "in_place"):
        return None
    part = 1.0 if ranks == 1 else 1.0 / ranks_step(prediction.case, ranks).speed_up
    trust = Trust.of(prediction)
    return {
        "machine": prediction.case.machine.name,
        "threads": PREDICTED_THREADS,
        "comparable": num_threads == PREDICTED_THREADS,
        "step_s": part * prediction.step_s,
        "low_s": part * trust.band.low_step_s,
        "high_s": part * trust.band.high_step_s,
        **trust.words,
    }


def _swallowed(config: Config, run: Trained) -> str | None:
    """What is lost to rounding; nothing is where it is random, as it is right in the mean."""
    if config.stochastic_rounding:
        return None
    remedy = "try --stochastic-rounding, or an fp32 master (--storage-dtype fp32)"
    return told(run.swallowed, remedy=remedy)


def _before_and_after(
    config: Config, prepared: Setup, evaluations: list[Evaluation]
) -> dict[str, Any]:
    assert config.lr is not None, "resolved"
    first = next((e for e in evaluations if e.step == 0), None)
    last = evaluations[-1] if evaluations else None
    verdict = Verdict(before=first, after=last, num_examples=prepared.reading.num_judged)
    return {
        "held_out_loss_before": first and first.held_out_loss,
        "held_out_loss_after": last and last.held_out_loss,
        "accuracy_before": first and first.accuracy,
        "accuracy_after": last and last.accuracy,
        "accuracy_before_standard_error": verdict.standard_error(first),
        "accuracy_after_standard_error": verdict.standard_error(last),
        "worse": verdict.harm(config.lr),
    }


def _records(
    config: Config, prepared: Setup, run: Trained, observed: Observed
) -> Iterator[dict[str, Any]]:
    common = {
        "run_id": _run_id(config, prepared),
        "config_hash": _run_id(config, prepared),
        "provenance": f"measured, {config.backend} backend",
    }
    for line in run.history.steps:
        yield from _numbers(common, line, _STEP_UNITS)
        yield common | {
            "step": line.step,
            "metric": "tokens_per_s",
            "value": line.tokens_per_s,
            "unit": "1/s",
        }
    for step, energy_j in observed.energies_j.items():
        yield common | {"step": step, "metric": "energy_j", "value": energy_j, "unit": "J"}
    for evaluation in run.history.evaluations:
        yield from _numbers(common, evaluation, _EVALUATION_UNITS)


def _numbers(
    common: dict[str, str], line: Outcome | Evaluation, units: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for metric, unit in units.items():
        value = getattr(line, metric)
        yield common | {"step": line.step, "metric": metric, "value": value, "unit": unit}


def _run_id(config: Config, prepared: Setup) -> str:
    content = config_of(config, prepared)
    return run_id(f"{key}={content[key]}" for key in ("settings", "data"))


def _plan(prepared: Setup) -> dict[str, Any]:
    return {"plan": fields_of(prepared.plan), "recipe": asdict(prepared.recipe)}


def _reference(config: Config, reference: Trained | None) -> tuple[str, pd.DataFrame] | None:
    if reference is None:
        return None
    return str(config.against), reference.history.evaluation_table()


def _shown(trace: Trace) -> Window | None:
    """The last whole step of the trace, from loss to loss."""
    losses = trace.losses_s
    return Window(losses[-2], losses[-1]) if len(losses) > 1 else None


def _share(steps: list[Outcome]) -> int:
    return max(1, len(steps) // _EARLY_AND_LATE)


def _mean_loss(steps: list[Outcome]) -> float | None:
    losses = _known(s.loss for s in steps)
    return statistics.fmean(losses) if losses else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
