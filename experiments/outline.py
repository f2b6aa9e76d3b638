"""What can be said of a sweep before anything is answered, in one pass over its jobs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from experiments.identity import run_id
from experiments.job import Job


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
