"""One configuration of a validation: what was predicted, and what was measured beside it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.op_errors import OpError, suspects
from analysis.peak_memory import MemoryScores
from analysis.promise import promises
from analysis.validation import Comparison, Scores
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import RunSpec
from zo2sim.predict import Prediction, extrapolations
from zo2sim.trace import Trace


@dataclass(frozen=True, kw_only=True, eq=False)
class Validated:
    """One configuration: predicted, measured in turns, compared."""

    spec: RunSpec
    prediction: Prediction
    trace: Trace
    comparison: Comparison
    errors: tuple[OpError, ...]
    divergence: str | None
    turns: tuple[Turn, ...]
    drawn_step: int
    """Of the undisturbed ones the one that takes what the configuration is said to."""

    @property
    def extrapolated(self) -> tuple[str, ...]:
        """What of it lies beyond what was calibrated."""
        return extrapolations(self.prediction.case)

    @property
    def settings(self) -> Mapping[str, str]:
        """What sets this configuration apart, for people."""
        spec, rate = self.spec, self.spec.link_bytes_per_s
        return {
            "model": f"{spec.config['model_type']} {spec.config['hidden_size']}",
            "policy": str(spec.plan.policy),
            "noise": spec.recipe.noise,
            "microbatches": str(spec.recipe.microbatches),
            "write-back every": str(spec.plan.write_back_every),
            "sizes": "beyond calibration" if self.extrapolated else "calibrated",
            "link": "as fast as memory" if rate is None else f"{rate / 1e9:g} GB/s",
        }


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
    diverged = [f"{one.spec.name}: {one.divergence}" for one in found if one.divergence]
    return [*broken, *memory.complaints, *blamed, *diverged]
