"""Parts of the host's cores as devices: how many times as long they take at once, from real runs.

A benchmark of two threads told too little: products side by side hardly slow each other, and how
long launches wait for the interpreter hangs on all that runs beside them. Steps of the engine hold
all of it.
"""

from collections.abc import Sequence
from math import log

from scipy.optimize import least_squares

from analysis.fits.machine import with_constants
from experiments.campaign.recorded_run import case_of
from experiments.campaign.references import References, excess, misfit_ratio
from zo2rt.measure.runs import MeasuredRun
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.predict.predict import Prediction, predict

_KEYS = ("cpu.crowded_ratio", "cpu.crowded_launch_ratio")
_MISFIT = "cpu.crowded_misfit_ratio"
_START = (1.2, 2.0)
_MOST = 10.0
_STEP = 0.05  # relative: a simulated step is no smooth function
_LOOKS = 12
_NEAR = 1e-3
"""Relative change of the ratios, or of what is left of the errors, that is none."""


def with_crowded(machine: Machine, runs: Sequence[MeasuredRun], source: str) -> Machine:
    """The machine with the ratios under which the runs' steps are nearest to their prediction, by
    least squares of relative errors, and with what these leave. ``runs`` are of several devices,
    and two at the least; two are met by two ratios, and leave nothing that tells."""
    first = _crowded(machine, _START, source)
    references = References.of(first, [run.turns for run in runs])
    measured_s = [references.calm_step(_predicted(first, run), run.turns).step_s for run in runs]

    def errors(ratios: Sequence[float]) -> list[float]:
        crowded = _crowded(machine, ratios, source)
        pairs = zip(runs, measured_s, strict=True)
        return [log(_predicted(crowded, run).step_s / step_s) for run, step_s in pairs]

    ends = [1.0] * len(_KEYS), [_MOST] * len(_KEYS)
    found = least_squares(
        errors, _START, bounds=ends, diff_step=_STEP, xtol=_NEAR, ftol=_NEAR, max_nfev=_LOOKS
    )
    return _with_misfit(_crowded(machine, found.x.tolist(), source), runs, source)


def _with_misfit(machine: Machine, runs: Sequence[MeasuredRun], source: str) -> Machine:
    """How far other runs will be from their prediction: each fitted ratio has hidden one run's."""
    free = len(runs) - len(_KEYS)
    if free < 1:
        return machine
    squares = [len(runs) / free * square for square in excess(machine, runs)]
    return with_constants(machine, {_MISFIT: Quantity(misfit_ratio(squares), "fitted", source)})


def _crowded(machine: Machine, ratios: Sequence[float], source: str) -> Machine:
    known = {key: Quantity(r, "fitted", source) for key, r in zip(_KEYS, ratios, strict=True)}
    return with_constants(machine, known)


def _predicted(machine: Machine, run: MeasuredRun) -> Prediction:
    return predict(case_of(run.spec, machine))
