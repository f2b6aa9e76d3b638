"""Accuracy of a language model that answers by choosing: the likeliest candidate wins."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zo2rt.data.examples import IGNORED, Row, batch_of


def choices_of(
    candidates: Sequence[Sequence[Row]], answers: Sequence[int], *, sequence: int, pad: int
) -> dict[str, Tensor]:
    """A batch of questions: (questions, candidates, sequence), and the right one of each."""
    count = len(candidates[0])
    flat = batch_of([row for rows in candidates for row in rows], sequence=sequence, pad=pad)
    shaped = {name: tensor.view(-1, count, sequence) for name, tensor in flat.items()}
    return {**shaped, "answers": torch.tensor(answers)}


def error_rate(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Share of the questions of `choices_of` whose likeliest candidate is not the answer.

    A candidate's likelihood is the sum of its tokens' log-probabilities. At a tie the first one
    is chosen.
    """
    questions, count, sequence = batch["input_ids"].shape
    tokens, mask, labels = (
        batch[name].view(questions * count, sequence)
        for name in ("input_ids", "attention_mask", "labels")
    )
    logits = model(input_ids=tokens, attention_mask=mask).logits  # (rows, sequence, vocab)
    likely = _log_likelihood(logits[:, :-1], labels[:, 1:]).view(questions, count)
    wrong = likely.argmax(dim=1) != batch["answers"].to(likely.device)
    return wrong.to(torch.float64).mean()


def _log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over each row's labelled tokens, in float32: (rows,)."""
    counted = labels != IGNORED
    wanted = labels.where(counted, 0).unsqueeze(-1)
    chosen = logits.float().log_softmax(dim=-1).gather(-1, wanted).squeeze(-1)
    return chosen.where(counted, 0.0).sum(dim=1)
