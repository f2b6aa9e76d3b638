"""Examples as tokens, the order in which they are read, and accuracy by likelihood."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import ByT5Tokenizer

from zo2rt.data.examples import IGNORED, Example, Row, batch_of, encode
from zo2rt.data.order import permutation, read_by
from zo2rt.data.pretrain import Pretraining
from zo2rt.data.ranking import choices_of, error_rate

TOKENIZER = ByT5Tokenizer(extra_ids=0)  # a byte b is token b + 3; token 1 ends a text


def tokens(text: str) -> tuple[int, ...]:
    return tuple(byte + 3 for byte in text.encode())


def test_the_loss_is_about_the_completion_alone():
    (row,) = encode(TOKENIZER, Example(prompt="ab", completion="c", ends=True), 8)
    assert row == Row(tokens=(*tokens("abc"), 1), given=2)
    batch = batch_of([row], sequence=6, pad=0)
    assert batch["input_ids"].tolist() == [[*tokens("abc"), 1, 0, 0]]
    assert batch["labels"].tolist() == [
        [IGNORED, IGNORED, *tokens("c"), 1, IGNORED, IGNORED],
    ]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]


def test_a_long_prompt_loses_its_beginning():
    (row,) = encode(TOKENIZER, Example(prompt="abcdef", completion="gh"), 4)
    assert row == Row(tokens=tokens("efgh"), given=2)


def test_a_long_completion_loses_its_end():
    (row,) = encode(TOKENIZER, Example(prompt="abc", completion="defghi"), 4)
    assert row == Row(tokens=tokens("defg"), given=0)


def test_plain_text_fills_rows():
    rows = encode(TOKENIZER, Example(completion="abcdefg"), 3)
    assert [row.tokens for row in rows] == [tokens("abc"), tokens("def"), tokens("g")]


def test_an_example_needs_something_to_learn():
    with pytest.raises(ValueError, match="must have a completion, or a text; got an empty one"):
        Example(prompt="a", completion="")


@given(
    count=st.integers(1, 30),
    batch=st.integers(1, 7),
    seed=st.integers(0, 2**64 - 1),
    epochs=st.integers(1, 3),
)
def test_every_epoch_reads_every_example_once(count: int, batch: int, seed: int, epochs: int):
    number = -(-epochs * count // batch)
    read = [i for c in range(number) for i in read_by(c, batch=batch, count=count, seed=seed)]
    for epoch in range(epochs):
        assert sorted(read[epoch * count : (epoch + 1) * count]) == [*range(count)]


def test_the_order_changes_with_seed_and_epoch_only():
    orders = {permutation(seed, epoch, 20) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert read_by(3, batch=2, count=20, seed=1) == permutation(1, 0, 20)[6:8]
    with pytest.raises(ValueError, match="at least one example to read; got 0"):
        read_by(0, batch=1, count=0, seed=0)


class Favourite(nn.Module):
    """Predicts one token after a question mark or after itself, and anything after the rest."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> "Favourite":
        self.logits = torch.zeros(*input_ids.shape, 300)
        asked = (input_ids == ord("?") + 3) | (input_ids == self.token)
        self.logits[..., self.token] = 10.0 * asked
        return self


def test_the_likeliest_candidate_is_chosen():
    candidates = [[Row(tokens=tokens("?" + c), given=1) for c in "xyz"] for _ in range(4)]
    batch = choices_of(candidates, [0, 1, 1, 2], sequence=4, pad=0)
    assert batch["input_ids"].shape == (4, 3, 4)
    wrong = {c: float(error_rate(Favourite(ord(c) + 3), batch)) for c in "xyz"}
    assert wrong == {"x": 0.75, "y": 0.5, "z": 0.75}


def test_padding_does_not_count():
    """A longer candidate is as likely as the sum over its own tokens says."""
    long, short = Row(tokens=tokens("?aa"), given=1), Row(tokens=tokens("?b"), given=1)
    for first, second, answer in ((long, short, 0), (short, long, 1)):
        batch = choices_of([[first, second]], [answer], sequence=9, pad=0)
        assert float(error_rate(Favourite(ord("a") + 3), batch)) == 0.0


def test_pretraining_warms_up_and_decays():
    how = Pretraining(steps=4, lr=1.0, warmup_steps=2)
    assert [how.lr_at(step) for step in range(4)] == [0.5, 0.75, 0.5, 0.25]
