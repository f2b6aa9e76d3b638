"""Peak memory as measured against the account: the arena to the byte, the process within 5 %."""

from collections.abc import Mapping
from dataclasses import dataclass

from zo2sim.memory.account import MemoryAccount, MemoryPlace
from zo2sim.memory.runtime import ARENA, AROUND_A_RUN, AT_A_SNAPSHOT

MOST_RSS_ERROR = 0.05
"""What is promised of a process whose device is the host's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCheck:
    """One run, measured. ``grown_bytes`` is None where its process was shared with other runs."""

    name: str
    account: MemoryAccount
    arena_bytes: int
    grown_bytes: int | None = None

    @property
    def predicted_arena_bytes(self) -> int:
        """On all devices together."""
        items = self.account.items
        here = (i for i in items if i.place is MemoryPlace.DEVICE and i.name in ARENA)
        return sum(item.num_bytes for item in here)

    @property
    def arena_is_exact(self) -> bool:
        """To the byte."""
        return self.arena_bytes == self.predicted_arena_bytes

    @property
    def predicted_grown_bytes(self) -> int:
        """Device and host together, as both are one process's memory; libraries apart.

        The runs that are compared write no snapshot.
        """
        return self.account.without((*AROUND_A_RUN, AT_A_SNAPSHOT)).on_one_memory.host_bytes

    @property
    def rss_error(self) -> float | None:
        """How far the account is above the process's growth, relative to the growth."""
        if self.grown_bytes is None:
            return None
        return self.predicted_grown_bytes / self.grown_bytes - 1.0

    @property
    def as_dict(self) -> dict[str, str | int | float | None]:
        """Every figure by its name."""
        return {
            "name": self.name,
            "arena_bytes": self.arena_bytes,
            "predicted_arena_bytes": self.predicted_arena_bytes,
            "grown_bytes": self.grown_bytes,
            "predicted_grown_bytes": self.predicted_grown_bytes,
            "rss_error": self.rss_error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryScores:
    """The checks of a whole validation; none where nothing was measured."""

    checks: tuple[MemoryCheck, ...] = ()

    @property
    def measured(self) -> tuple[MemoryCheck, ...]:
        """Those with a process of their own."""
        return tuple(check for check in self.checks if check.grown_bytes is not None)

    @property
    def figures(self) -> Mapping[str, bool | int | float]:
        """``arena_exact`` over all, ``rss_max_error`` over the ``rss_n`` processes."""
        errors = [abs(c.rss_error) for c in self.checks if c.rss_error is not None]
        found: dict[str, bool | int | float] = {}
        if self.checks:
            found["arena_exact"] = all(check.arena_is_exact for check in self.checks)
        if errors:
            found |= {"rss_n": len(errors), "rss_max_error": max(errors)}
        return found

    @property
    def complaints(self) -> tuple[str, ...]:
        """What breaks the promise, by run."""
        return tuple(
            complaint
            for check in self.checks
            for complaint in (_arena_complaint(check), _rss_complaint(check))
            if complaint is not None
        )


def _arena_complaint(check: MemoryCheck) -> str | None:
    if check.arena_is_exact:
        return None
    return (
        f"{check.name}: the arena must have the {check.predicted_arena_bytes} bytes of the "
        f"account; it has {check.arena_bytes}"
    )


def _rss_complaint(check: MemoryCheck) -> str | None:
    error = check.rss_error
    if error is None or abs(error) <= MOST_RSS_ERROR:
        return None
    return (
        f"{check.name}: the process must grow by the {check.predicted_grown_bytes / 1e6:.0f} MB of "
        f"the account within {MOST_RSS_ERROR:.0%}; it grew by {(check.grown_bytes or 0) / 1e6:.0f}"
    )
