"""What of the model runs: a training step, or a forward pass alone; and how its attention does.

Neither a recipe, which fixes bits, nor a plan, which fixes placement: a question.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from zo2sim.checks import check_choice

What = Literal["step", "forward"]
Logits = Literal["all", "last"]
AttentionCode = Literal["auto", "fused", "eager"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What of the model runs, and how its attention does."""

    work: What = "step"
    """A training step in its steady state, or one forward from start to end: every unit once,
    unperturbed, one lane per microbatch, nothing written back and no loss."""
    logits: Logits = "all"
    """Tokens that the LM head sees in a forward: all, or the last one of every sequence."""
    attention: AttentionCode = "auto"
    """One kernel, or one per operator, which moves the scores; 'auto' is eager for published code,
    fused for all else."""

    def __post_init__(self) -> None:
        """``ValueError`` for logits of the last token alone in a step, whose loss needs all."""
        check_choice("work", self.work, get_args(What))
        check_choice("logits", self.logits, get_args(Logits))
        check_choice("attention", self.attention, get_args(AttentionCode))
        if self.work == "step" and self.logits != "all":
            raise ValueError("logits must be all in a step, whose loss needs them; got last")

    @property
    def once(self) -> bool:
        """It runs from start to end, and is not repeated."""
        return self.work == "forward"


STEP = Workload()
"""What is asked about where nothing is said."""
