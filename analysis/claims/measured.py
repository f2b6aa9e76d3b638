"""What others measured of training on the cards of the throughput claims, and what is predicted.

These test the cost model by figures that are not claims about any offloading method.
"""

from collections.abc import Iterator
from functools import cache

from analysis.claims.row import Row, value, within
from analysis.claims.setups import setup, tolerance
from zo2sim.baselines import TrainingCase, predict
from zo2sim.baselines.cost import TrainingCost
from zo2sim.baselines.traffic import Code

TERA = 1e12
CARDS = ("v100", "rtx-4090")


def measured_rows() -> Iterator[Row]:
    """A block on each card, and a whole step."""
    for card in CARDS:
        yield from _block_rows(card)
    yield step_row()


def _block_rows(card: str) -> Iterator[Row]:
    """In the FLOP that the source counts."""
    case = setup("gpt2-block", card).nominal
    cost = TrainingCost(
        model=case.model, machine=case.machine, training=case.training, code=Code.TRANSFORMERS
    )
    hidden, sequence = case.model.hidden, case.training.sequence
    flops = (24 * hidden**2 + 4 * hidden * sequence) * case.training.tokens_per_step
    forward_s, backward_s = cost.forward_s(0), cost.backward_s(0)
    why = "batch 64 x 512; GELU and attention in a kernel per operator"
    for item, rate in (
        (f"{card} forward", flops / forward_s),
        (f"{card} with backward", 3 * flops / (forward_s + backward_s)),
    ):
        yield _row("gpt2-block", item, "TFLOP/s", rate / TERA, why)


@cache
def step_row() -> Row:
    """A step of Megatron-LM's 1.2B on a V100, operator by operator."""
    case: TrainingCase = setup("megatron-1.2b", "step_s").nominal
    training = case.training
    why = f"batch {training.batch} x {training.sequence}, activation checkpointing"
    return _row("megatron-1.2b", "step_s", "s", predict(case).step_s, why)


def _row(claim: str, item: str, unit: str, predicted: float, why: str) -> Row:
    published, allowed = value(claim, item), tolerance("throughput")
    agrees = within(predicted, published, allowed)
    return Row(
        claim=claim,
        item=item,
        kind="speed",
        unit=unit,
        published=published,
        predicted=predicted,
        agrees=agrees,
        allowed=allowed,
        why=why if agrees else "",
    )
