"""One configuration of a validation: what was predicted, and what was measured beside it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from analysis.validation.op_errors import OpError, op_errors, suspects
from analysis.validation.peak_memory import MemoryScores
from analysis.validation.promise import promises
from analysis.validation.replay import mean_durations_s, replayed_s
from analysis.validation.scores import Comparison, Scores
from experiments.campaign.references import References
from zo2rt.measure.calm import CalmStep
from zo2rt.measure.runs import MeasuredRun
from zo2sim.predict.bands import band
from zo2sim.predict.drift import drifted
from zo2sim.predict.predict import Prediction, extrapolations
from zo2sim.schedule.ops import Kind
from zo2sim.simulate.trace import Trace


@dataclass(frozen=True, kw_only=True, eq=False)
class Validated:
    """One configuration: its run in turns, what was predicted of it, and both compared."""

    run: MeasuredRun
    prediction: Prediction
    comparison: Comparison
    errors: tuple[OpError, ...]
    drawn_step: int
    """Of the undisturbed ones in the trace the one that takes what the configuration is said to."""

    @property
    def extrapolated(self) -> tuple[str, ...]:
        """What of it lies beyond what was calibrated."""
        return extrapolations(self.prediction.case)

    @property
    def settings(self) -> Mapping[str, str]:
        """What sets this configuration apart, for people."""
        spec, rate = self.run.spec, self.run.spec.link_bytes_per_s
        return {
            "model": f"{spec.config['model_type']} {spec.config['hidden_size']}",
            "policy": str(spec.plan.policy),
            "noise": spec.recipe.noise,
            "microbatches": str(spec.recipe.microbatches),
            "write-back every": str(spec.plan.write_back_every),
            "sizes": "beyond calibration" if self.extrapolated else "calibrated",
            "link": "as fast as memory" if rate is None else f"{rate / 1e9:g} GB/s",
        }


def compared(
    run: MeasuredRun, prediction: Prediction, references: References, *, seed: int
) -> Validated:
    """A prediction beside the run it is of; ``seed`` is that of the draws of its band.

    Steps have the machine's drift taken out. Operations and rules are compared as they were
    measured, on the machine as it had drifted meanwhile.
    """
    case, trace, turns = prediction.case, run.trace, run.turns
    calm = references.calm_step(prediction, turns)
    drift = references.drift_during(turns, calm.steps_s)
    meanwhile = replace(case, machine=drifted(case.machine, drift))
    spread = band(prediction, seed=seed)
    comparison = Comparison(
        name=run.spec.name,
        predicted_s=prediction.step_s,
        low_s=spread.low_step_s,
        high_s=spread.high_step_s,
        replayed_s=replayed_s(trace, meanwhile, calm.steps_s),
        calm_s=fmean(calm.steps_s.values()),
        step_s=calm.step_s,
        standard_error=calm.standard_error,
        disturbance=calm.disturbance,
        drift=calm.drift,
        machine_drift=drift,
        turns=len(turns),
    )
    measured_s = mean_durations_s(trace, calm.steps_s)
    return Validated(
        run=run,
        prediction=prediction,
        comparison=comparison,
        errors=tuple(op_errors(trace, meanwhile, measured_s, run.spec.name)),
        drawn_step=_drawn_step(trace, calm, last=max(turns[-1].steps_s)),
    )


def _drawn_step(trace: Trace, calm: CalmStep, *, last: int) -> int:
    """From loss to loss in the trace; ``last`` where all undisturbed steps are older than it."""
    losses = {span.step for span in trace.spans if span.op.kind is Kind.LOSS}
    held = [step for step in calm.steps_s if {step - 1, step} <= losses]
    return min(held, key=lambda step: abs(calm.steps_s[step] - calm.step_s), default=last)


def scores_of(found: Sequence[Validated]) -> Scores:
    """The errors over all configurations."""
    return Scores(comparisons=tuple(one.comparison for one in found))


def errors_of(found: Sequence[Validated]) -> list[OpError]:
    """Predicted and measured operations of all configurations."""
    return [error for one in found for error in one.errors]


def beyond(found: Sequence[Validated]) -> dict[str, int]:
    """What lies beyond calibration, and in how many configurations."""
    return dict(Counter(text for one in found for text in one.extrapolated))


def complaints(found: Sequence[Validated], memory: MemoryScores) -> list[str]:
    """What exceeds the promise, the constants that are suspect, and runs in another order."""
    broken = [p.sentence for p in promises(scores_of(found)) if not p.kept]
    blamed = [f"suspect: {suspect.sentence}" for suspect in suspects(errors_of(found))]
    return [*broken, *memory.complaints, *blamed, *diverged(found)]


def diverged(found: Sequence[Validated]) -> list[str]:
    """The runs that were in another order than predicted, and how."""
    return [f"{one.run.spec.name}: {one.run.divergence}" for one in found if one.run.divergence]
