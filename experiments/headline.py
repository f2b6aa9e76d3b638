"""The headline numbers of a sweep, gathered one answer at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.job import Job
from experiments.outline import Outline


@dataclass(slots=True)
class Headline:
    """Extremes over the answers so far; None where nothing was predicted."""

    num_fitting: float = 0.0
    fastest_tokens_per_s: float | None = None
    slowest_step_s: float | None = None
    largest_gap_to_bound: float | None = None
    hold_out_errors: dict[str, str] = field(default_factory=dict[str, str])
    """In words, by machine."""

    def add(self, job: Job, answer: Mapping[str, Any]) -> None:
        """An answer that has no step time, a mere account of memory, is passed over."""
        if "step_s" not in answer:
            return
        self.hold_out_errors.setdefault(job.spec.machine, answer["hold_out_error"])
        self.num_fitting += answer["fits"]
        speed, step_s = answer["tokens_per_s"], answer["step_s"]
        gap = step_s / answer["lower_bound_s"] - 1.0
        self.fastest_tokens_per_s = _larger(self.fastest_tokens_per_s, speed)
        self.slowest_step_s = _larger(self.slowest_step_s, step_s)
        self.largest_gap_to_bound = _larger(self.largest_gap_to_bound, gap)

    def summary(self, outline: Outline) -> dict[str, Any]:
        """The summary of the run."""
        return {
            "run_id": outline.run_id,
            "num_jobs": outline.num_jobs,
            "num_models": len(outline.models),
            "num_fitting": self.num_fitting,
            "fastest_tokens_per_s": self.fastest_tokens_per_s,
            "slowest_step_s": self.slowest_step_s,
            "largest_gap_to_bound": self.largest_gap_to_bound,
            "hold_out_errors": dict(self.hold_out_errors),
        }


def _larger(known: float | None, value: float) -> float:
    return value if known is None else max(known, value)
