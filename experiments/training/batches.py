"""What is learned, and its batches: tokens of every example, and what a microbatch reads."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TypeVar

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from zo2rt.data.examples import Example, Row, batch_of, encode, pad_of
from zo2rt.data.order import permutation, read_by
from zo2rt.data.ranking import choices_of
from zo2sim.plan.choices import Recipe

T = TypeVar("T")

Weighted = tuple[int, dict[str, Tensor]]
"""A batch, and how many examples are in it."""

MOST_CANDIDATES = 32
"""With more different completions than this a task is not one of choosing."""
_HELD_OUT_SHARE = 10  # one in so many
_SPLIT = 2**63  # an epoch that no run reaches, so the split is no part of any order of reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Examples to train on, others to be judged by.

    ``candidates`` are the completions that an answer is chosen from; none: no accuracy.
    """

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


@dataclass(frozen=True)
class Batches:
    """The batches of one task for one model; the same for the same seed and cursor."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    recipe: Recipe
    seed: int

    @cached_property
    def training(self) -> tuple[Row, ...]:
        """Raises ``ValueError`` where there is nothing to learn in them."""
        rows = self._rows(self.task.training)
        if not any(row.has_targets for row in rows):
            raise ValueError(
                f"{self.task.name}: a loss needs a token with others before it; the model's "
                f"{type(self.tokenizer).__name__} makes {sum(len(row.tokens) for row in rows)} "
                f"tokens of {len(self.task.training)} examples, none of them such; see that the "
                f"files of the tokenizer are complete, or give longer texts or --sequence"
            )
        return rows

    @cached_property
    def held_out(self) -> tuple[Row, ...]:
        return self._rows(self.task.held_out)

    @cached_property
    def tokens_sha256(self) -> str:
        """Of all that is read in training and judged by: another tokenizer gives another."""
        digest = sha256()
        for row in (*self.training, *self.held_out):
            digest.update(array("q", (len(row.tokens), row.given, *row.tokens)).tobytes())
        return digest.hexdigest()

    @property
    def example(self) -> dict[str, Tensor]:
        """Two rows with which a model is explored."""
        return self._batch((self.training * 2)[:2])

    def step(self, cursor: int) -> dict[str, Tensor]:
        """What the microbatches from ``cursor`` on read in one step."""
        recipe, count = self.recipe, len(self.training)
        chosen = [
            self.training[index]
            for microbatch in range(cursor, cursor + recipe.microbatches)
            for index in read_by(microbatch, batch=recipe.batch, count=count, seed=self.seed)
        ]
        return self._batch(chosen)

    def judged(self) -> Iterator[Weighted]:
        """The held-out rows, in order."""
        for rows in self._parts(self.held_out, self.recipe.batch):
            yield len(rows), self._batch(rows)

    def questions(self) -> Iterator[Weighted]:
        """The held-out examples with every candidate; none where the task has no candidates."""
        candidates = self.task.candidates
        if not candidates:
            return
        few = max(1, self.recipe.batch // len(candidates))
        for examples in self._parts(self.task.held_out, few):
            rows = [[self._answered(example, text) for text in candidates] for example in examples]
            answers = [candidates.index(example.completion) for example in examples]
            yield len(examples), choices_of(rows, answers, sequence=self._sequence, pad=self._pad)

    @property
    def num_judged(self) -> int:
        """Held-out examples whose answers count."""
        return self._whole(self.task.held_out)

    def _whole(self, items: Sequence[object]) -> int:
        """How many of them are in whole microbatches."""
        return len(items) - len(items) % self.recipe.microbatches

    def _parts(self, items: Sequence[T], batch: int) -> Iterator[Sequence[T]]:
        """Batches that split evenly into microbatches: the last few items may be left out."""
        split, whole = self.recipe.microbatches, self._whole(items)
        if whole == 0:
            raise ValueError(
                f"{self.task.name}: as many examples must be held out as there are microbatches, "
                f"{split}; got {len(items)}; add data, or give --eval-data"
            )
        for first in range(0, whole, batch * split):
            yield items[first : min(whole, first + batch * split)]

    def _answered(self, example: Example, completion: str) -> Row:
        return self._encoded(replace(example, completion=completion))[0]

    def _rows(self, examples: Sequence[Example]) -> tuple[Row, ...]:
        return tuple(row for example in examples for row in self._encoded(example))

    def _encoded(self, example: Example) -> tuple[Row, ...]:
        return encode(self.tokenizer, example, self._sequence)

    def _batch(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return batch_of(rows, sequence=self._sequence, pad=self._pad)

    @property
    def _sequence(self) -> int:
        return self.recipe.sequence

    @property
    def _pad(self) -> int:
        return pad_of(self.tokenizer)
