"""A sweep's outline before anything is answered, and its headline, an answer at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.folder.provenance import run_id
from experiments.jobs.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """``changes`` are the machine constants that any job sets, by dotted key, in order."""

    run_id: str
    num_jobs: int
    models: tuple[str, ...]
    machines: tuple[str, ...]
    changes: tuple[str, ...]

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> "Outline":
        """Read the jobs once, and keep none of them."""
        seen = _Seen()
        identity = run_id(seen.named(jobs))
        return cls(
            run_id=identity,
            num_jobs=seen.count,
            models=tuple(seen.models),
            machines=tuple(seen.machines),
            changes=tuple(seen.changes),
        )


@dataclass(slots=True)
class _Seen:
    """Names in the order in which they first came."""

    count: int = 0
    models: dict[str, None] = field(default_factory=dict[str, None])
    machines: dict[str, None] = field(default_factory=dict[str, None])
    changes: dict[str, None] = field(default_factory=dict[str, None])

    def named(self, jobs: Iterable[Job]) -> Iterator[str]:
        """What identifies each job; notes it on the way."""
        for job in jobs:
            self.count += 1
            self.models[job.spec.model] = None
            self.machines[job.spec.machine] = None
            self.changes |= dict.fromkeys(key for key, _ in job.spec.changes)
            yield f"{job.question}/{job.label}/{job.key}"


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
