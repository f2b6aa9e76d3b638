"""The course of a fine-tuning: how many steps, at which learning rate, judged and saved when."""

from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Step counts; 0 for ``eval_every`` or ``save_every`` leaves only the beginning and the end."""

    steps: int
    lr: float
    schedule: Schedule
    eval_every: int
    save_every: int
    snapshots: bool = True
    """Off for a run that is kept nowhere."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("eval_every", 0), ("save_every", 0)):
            value = getattr(self, name)
            if value < least:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} must be >= {least}; got {value}")

    def lr_at(self, step: int) -> float:
        """Constant, or from ``lr`` in the first step down to 0 after the last one."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1.0 - step / self.steps)

    def is_judged(self, step: int) -> bool:
        """Whether weights after ``step`` steps are evaluated."""
        return step in (0, self.steps) or (self.eval_every > 0 and step % self.eval_every == 0)

    def is_saved(self, step: int) -> bool:
        """Whether weights after ``step`` steps become a snapshot."""
        due = self.save_every > 0 and step % self.save_every == 0
        return self.snapshots and step > 0 and (due or step == self.steps)
