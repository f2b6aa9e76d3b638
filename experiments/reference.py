"""The reference that runs take turns with: it tells how far the machine has drifted since."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean, median, stdev

from analysis.machine_fit import LEAST_RATIO
from experiments.recorded_run import case_of
from experiments.run_design import reference_run
from zo2rt.measure.calm import CalmStep, Turn, calm_step
from zo2rt.measure.runs import RunSpec
from zo2sim.drift import core_share
from zo2sim.machine import Machine
from zo2sim.measured import Measured
from zo2sim.predict import Prediction, predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What all configurations are paired with.

    ``calibrated_s`` is what it took when the machine was calibrated; if that never was, what it
    takes. ``core_share`` is that of its prediction (`zo2sim.drift`).
    """

    calibrated_s: float
    core_share: float

    @classmethod
    def of(cls, machine: Machine, turns: Sequence[Sequence[Turn]]) -> "Reference":
        share = core_share(predict(case_of(reference_run(), machine)))
        if machine.cpu is not None:
            return cls(calibrated_s=machine.cpu.reference_s.value, core_share=share)
        seen_s = median(turn.reference_s for own in turns for turn in own)
        return cls(calibrated_s=seen_s, core_share=share)

    def calm_step(self, prediction: Prediction, turns: Sequence[Turn]) -> CalmStep:
        """The run's undisturbed step, with the drift taken out that the prediction says it has."""
        return calm_step(
            turns,
            period=prediction.trace.steps_per_period,
            reference_s=self.calibrated_s,
            drift_power=core_share(prediction) / self.core_share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRun:
    """A run that took turns with the reference, and what its trace says of the constants."""

    spec: RunSpec
    turns: Sequence[Turn]
    rows: Sequence[Measured] = ()


def excess(machine: Machine, runs: Sequence[TimedRun]) -> list[float]:
    """Per run: the square of its predicted step's relative error, less that of its repetition."""
    reference = Reference.of(machine, [run.turns for run in runs])
    found: list[float] = []
    for run in runs:
        prediction = predict(case_of(run.spec, machine))
        step = reference.calm_step(prediction, run.turns)
        found.append(log(prediction.step_s / step.step_s) ** 2 - step.standard_error**2)
    return found


def misfit_ratio(squares: Sequence[float]) -> float:
    """How far steps are from their prediction beyond what their repetition explains, by `excess`.

    Where noise hides it, as much as the runs do not exclude: one standard error of the mean.
    """
    hidden = stdev(squares) / len(squares) ** 0.5 if len(squares) > 1 else 0.0
    return max(fmean(squares), hidden, LEAST_RATIO**2) ** 0.5
