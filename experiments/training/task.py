"""What is learned: examples to train on, others to be judged by, and the answers to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass

from zo2rt.data.examples import Example
from zo2rt.data.order import permutation

MOST_CANDIDATES = 32
"""With more different completions than this a task is not one of choosing."""
_HELD_OUT_SHARE = 10  # one in so many
_SPLIT = 2**63  # an epoch that no run reaches, so the split is no part of any order of reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """``candidates`` are the completions that an answer is chosen from; none: no accuracy."""

    name: str
    training: tuple[Example, ...]
    held_out: tuple[Example, ...]
    candidates: tuple[str, ...] = ()
    sha256: str

    def __post_init__(self) -> None:
        for name in ("training", "held_out"):
            if not getattr(self, name):
                raise ValueError(f"{self.name}: {name} examples must be at least 1; got none")


def split(
    examples: Sequence[Example], *, most_held_out: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and held-out examples: one in ten is held out, the same ones whatever the seed."""
    order = permutation(0, _SPLIT, len(examples))
    count = max(1, min(most_held_out, len(examples) // _HELD_OUT_SHARE))
    kept = sorted(order[count:])
    return tuple(examples[i] for i in kept), tuple(examples[i] for i in sorted(order[:count]))


def candidates_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """The different completions, where there are few enough to choose from and prompts to read."""
    found = sorted({example.completion for example in examples})
    chosen = 2 <= len(found) <= MOST_CANDIDATES and all(example.prompt for example in examples)
    return tuple(found) if chosen else ()
