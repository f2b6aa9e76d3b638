"""What became of a run whose losses are no numbers, in words: where it began, and what to try."""

from experiments.training.batches import Batches
from experiments.training.history import History

_TRY = "try a smaller --lr, a smaller --eps, or --clip"


def trouble(history: History, reading: Batches) -> str | None:
    """Why the run has no result: its last steps were skipped, or nothing could be judged.

    None where the last step and the last evaluation are finite, whatever was skipped before.
    """
    step = _diverged_at(history)
    if step is not None:
        return (
            f"diverged at step {step}: from there on a loss was NaN or infinite, and no weight "
            f"changed; {_TRY}"
        )
    if not history.evaluations or history.evaluations[-1].held_out_loss is not None:
        return None
    empty, count = sum(not row.has_targets for row in reading.held_out), len(reading.held_out)
    if empty:
        return (
            f"the held-out loss is not known: {empty} of {count} held-out rows have no token that "
            f"the loss is about; give longer ones with --eval-data, or a larger --sequence"
        )
    return (
        f"diverged by step {history.evaluations[-1].step}: the held-out loss is NaN or infinite; "
        f"{_TRY}"
    )


def _diverged_at(history: History) -> int | None:
    """The first of the skipped steps that the run ended with."""
    first = None
    for line in reversed(history.steps):
        if not line.skipped:
            break
        first = line.step
    return first
