"""What evaluations before and after a training say: how sure they are, and whether it did harm."""

import math
from dataclasses import dataclass

from experiments.training.history import Evaluation

_SURE = 2.0
"""So many standard errors are no chance, in one case of twenty wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first evaluation, of the weights that the run began with, and the last.

    Accuracies are over ``num_examples``.
    """

    before: Evaluation | None
    after: Evaluation | None
    num_examples: int

    def standard_error(self, evaluation: Evaluation | None) -> float | None:
        """Of its accuracy, which is the mean of that many answers: sqrt(p (1 - p) / n)."""
        if evaluation is None or evaluation.accuracy is None:
            return None
        p = evaluation.accuracy
        return math.sqrt(p * (1.0 - p) / self.num_examples)

    def harm(self, lr: float) -> str | None:
        """What became worse, and what to try; None where nothing did, or nobody knows.

        Accuracy is worse where it fell by twice the standard error of the difference (of answers
        that are no pairs, which is the larger one), and a loss where what is shown of it rose.
        """
        worse = self._of_accuracy() or self._of_loss()
        if worse is None:
            return None
        return f"training made the model worse: {worse}; try a smaller --lr than {lr:g}"

    def _of_accuracy(self) -> str | None:
        fell = self._fell
        if fell is None or fell <= _SURE * math.hypot(*self._errors):
            return None
        return f"held-out accuracy fell by {fell:.1%}, of {self.num_examples} examples"

    def _of_loss(self) -> str | None:
        """Of no account where more is answered right."""
        if self.before is None or self.after is None or (self._fell or 0.0) < 0.0:
            return None
        losses = (self.before.held_out_loss, self.after.held_out_loss)
        before, after = ("" if loss is None else f"{loss:.3f}" for loss in losses)
        if not before or not after or float(after) <= float(before):
            return None
        return f"the held-out loss rose from {before} to {after}"

    @property
    def _errors(self) -> tuple[float, ...]:
        found = (self.standard_error(self.before), self.standard_error(self.after))
        return tuple(error for error in found if error is not None)

    @property
    def _fell(self) -> float | None:
        found = (self.before, self.after)
        first, last = (None if one is None else one.accuracy for one in found)
        return None if first is None or last is None else first - last
