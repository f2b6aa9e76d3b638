"""Examples of a task, and their tokens: what is read, and what the loss is about.

An example without a prompt is plain text, and its loss is about every token. With a prompt the
loss is about the completion alone. Prompt and completion are tokenised apart, so that a completion
has the same tokens after every prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that the loss leaves out, as in every Hugging Face model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """``ends`` asks for the end-of-text token after the completion, where a tokenizer has one."""

    prompt: str = ""
    completion: str
    ends: bool = False

    def __post_init__(self) -> None:
        if not self.completion:
            raise ValueError("an example must have a completion, or a text; got an empty one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence: its tokens, and how many of them come before the loss begins."""

    tokens: tuple[int, ...]
    given: int

    @property
    def has_targets(self) -> bool:
        """The loss is about one of its tokens; nothing predicts the first."""
        return len(self.tokens) > max(self.given, 1)


def encode(tokenizer: PreTrainedTokenizerBase, example: Example, sequence: int) -> tuple[Row, ...]:
    """The rows of one example, none longer than ``sequence`` tokens.

    A long prompt loses its beginning, a long completion its end; plain text becomes as many rows
    as it fills.
    """
    start, body = _start(tokenizer), _ids(tokenizer, example.completion)
    end = end_of(tokenizer)
    if example.ends and end is not None:
        body = (*body, end)
    if not example.prompt:
        return tuple(_text_rows(start, body, sequence))
    room = sequence - len(start)
    body = body[:room]
    prompt = _ids(tokenizer, example.prompt)
    prompt = prompt[max(0, len(prompt) + len(body) - room) :]
    return (Row(tokens=(*start, *prompt, *body), given=len(start) + len(prompt)),)


def batch_of(rows: Sequence[Row], *, sequence: int, pad: int) -> dict[str, Tensor]:
    """Rows as tensors (rows, sequence), padded on the right."""
    shape = (len(rows), sequence)
    tokens = torch.full(shape, pad, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.int64)
    for number, row in enumerate(rows):
        length = len(row.tokens)
        tokens[number, :length] = torch.tensor(row.tokens)
        labels[number, row.given : length] = tokens[number, row.given : length]
        mask[number, :length] = 1
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


def pad_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up a row; any will do, because nothing attends to it."""
    pad: Any = tokenizer.pad_token_id
    return 0 if pad is None else int(pad)


def end_of(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The end-of-text token, or None."""
    end: Any = tokenizer.eos_token_id
    return None if end is None else int(end)


def _text_rows(start: tuple[int, ...], body: tuple[int, ...], sequence: int) -> Iterator[Row]:
    room = sequence - len(start)
    for first in range(0, len(body), room):
        yield Row(tokens=(*start, *body[first : first + room]), given=len(start))


def _start(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The beginning-of-text token, where the tokenizer puts one before everything."""
    first = tuple(tokenizer("")["input_ids"])[:1]
    return first if first == (tokenizer.bos_token_id,) else ()


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
