"""The references that runs take turns with: they tell how far the machine has drifted since."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean, median, stdev

import numpy as np

from analysis.fits.machine import LEAST_RATIO
from experiments.campaign.designs import reference_runs
from experiments.campaign.recorded_run import case_of
from zo2rt.measure.calm import CalmStep, Turn, calm_step
from zo2rt.measure.runs import MeasuredRun
from zo2sim.machines.machine import Machine
from zo2sim.predict.drift import Drift, Shares, shares
from zo2sim.predict.predict import Prediction, predict

_ALIKE = 0.2
"""Ratio of singular values below which two references are too much alike to tell two drifts."""

_FASTEST = 0.1
"""Drift that no machine has: a turn of which so little is left was disturbed, or its references."""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What all configurations are paired with: a large run that computes, a small one that starts.

    ``calibrated_s`` is what each took when the machine was calibrated; if that never was, what it
    takes. ``shares`` are those of their predictions (`zo2sim.predict.drift`).
    """

    calibrated_s: Sequence[float]
    shares: Sequence[Shares]

    @classmethod
    def of(cls, machine: Machine, turns: Iterable[Sequence[Turn]]) -> "References":
        cpu = machine.cpu
        seen = (turn.references_s for own in turns for turn in own)
        return cls(
            calibrated_s=[median(own) for own in zip(*seen, strict=True)]
            if cpu is None
            else [cpu.large_reference_s.value, cpu.small_reference_s.value],
            shares=[shares(predict(case_of(spec, machine))) for spec in reference_runs()],
        )

    def drift(self, turn: Turn) -> Drift:
        """The one that makes both references as much longer as they were around a turn; none where
        no references ran."""
        if not turn.references_s:
            return Drift()
        pairs = zip(turn.references_s, self.calibrated_s, strict=True)
        more = np.array([seconds / calibrated_s - 1.0 for seconds, calibrated_s in pairs])
        own = np.array([(one.computing, one.starting) for one in self.shares])
        drifts = 1.0 + np.linalg.lstsq(own, more, rcond=_ALIKE)[0]
        computing, starting = np.maximum(_FASTEST, drifts).tolist()
        return Drift(computing=computing, starting=starting)

    def drift_during(self, turns: Sequence[Turn], steps: Collection[int]) -> Drift:
        """In the mean over steps of a run."""
        drifts = [self.drift(t) for t in turns for step in t.steps_s if step in steps]
        return Drift(
            computing=fmean(drift.computing for drift in drifts),
            starting=fmean(drift.starting for drift in drifts),
        )

    def calm_step(self, prediction: Prediction, turns: Sequence[Turn]) -> CalmStep:
        """The run's undisturbed step, with the drift taken out that the prediction says it has."""
        own = shares(prediction)
        return calm_step(
            turns,
            period=prediction.trace.steps_per_period,
            longer=[own.longer(self.drift(turn)) for turn in turns],
        )


def excess(machine: Machine, runs: Sequence[MeasuredRun]) -> list[float]:
    """Per run: the square of its predicted step's relative error, less that of its repetition."""
    references = References.of(machine, [run.turns for run in runs])
    found: list[float] = []
    for run in runs:
        prediction = predict(case_of(run.spec, machine))
        step = references.calm_step(prediction, run.turns)
        found.append(log(prediction.step_s / step.step_s) ** 2 - step.standard_error**2)
    return found


def misfit_ratio(squares: Sequence[float]) -> float:
    """How far steps are from their prediction beyond what their repetition explains, by `excess`.

    Where noise hides it, as much as the runs do not exclude: one standard error of the mean.
    """
    hidden = stdev(squares) / len(squares) ** 0.5 if len(squares) > 1 else 0.0
    return max(fmean(squares), hidden, LEAST_RATIO**2) ** 0.5
