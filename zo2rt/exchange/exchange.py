"""What a rank asks of the others: everybody's bytes, in the order of the ranks."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self, final


class ExchangeError(ConnectionError):
    """The ranks cannot go on together; every one of them is to end."""


class RanksDiffer(ExchangeError):
    """Ranks that should be at one point of one run are not: the message says which, and since when.

    Nothing of the step that is made has reached a weight, or the journal.
    """


class FirstFailed(ExchangeError):
    """Rank 0 could not begin, and has said why."""


class RankGone(ExchangeError):
    """``gone`` have ended, or did not answer in time; the others are here. ``advice``: what now."""

    def __init__(self, gone: Collection[int], what: str, advice: str = "") -> None:
        self.gone, self.what, self.advice = tuple(sorted(gone)), what, advice
        start = f"{named(self.gone)} gone"
        super().__init__(f"{start}; {advice} ({what})" if advice else f"{start}: {what}")

    def __reduce__(self) -> tuple[type["RankGone"], tuple[Collection[int], str, str]]:
        return RankGone, (self.gone, self.what, self.advice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a rank waits for the others: twenty of its own steps, and a minute at the least.

    ``once_s`` holds where nobody knows how long it takes: until all have loaded their model, and
    while rank 0 writes a snapshot.
    """

    steps: int = 20
    least_s: float = 60.0
    once_s: float = 1800.0

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.least_s > 0 and self.once_s > 0):
            raise ValueError(
                f"patience must be 1 step or more, and more than 0 s; got {self.steps}, "
                f"{self.least_s} s and {self.once_s} s"
            )

    def for_a_step(self, step_s: float | None) -> float:
        """Seconds, where a step takes ``step_s``, if anybody knows."""
        return self.once_s if step_s is None else max(self.least_s, self.steps * step_s)


class Exchange(ABC):
    """Ranks 0 to ``size`` - 1. Every rank makes the same calls in the same order.

    Calls come from any thread, one at a time. Each raises `RankGone` where a rank ends, or does not
    make the call within ``limit_s``.
    """

    def __init__(self, rank: int, size: int, patience: Patience) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"a rank must be 0 to {size - 1}; got {rank}")
        self.rank, self.size, self.patience = rank, size, patience

    @abstractmethod
    def gather(self, data: bytes, *, limit_s: float) -> tuple[bytes, ...]:
        """What every rank gave, in the order of the ranks; lengths may differ."""

    @abstractmethod
    def close(self) -> None:
        """Leave the others, who see it as an end; safe to call twice."""

    @final
    def from_first(self, data: bytes | None) -> bytes:
        """What rank 0 gave; the others give None."""
        assert (data is None) == (self.rank > 0), "rank 0 alone gives"
        return self.gather(b"" if data is None else data, limit_s=self.patience.once_s)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def named(ranks: Collection[int]) -> str:
    """``rank 2 is`` or ``ranks 1, 3 are``; of none it is what was between them."""
    if not ranks:
        return "a connection is"
    numbers = ", ".join(map(str, ranks))
    return f"rank {numbers} is" if len(ranks) == 1 else f"ranks {numbers} are"
