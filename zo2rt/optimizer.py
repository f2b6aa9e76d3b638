"""What is minimised, with which hyper-parameters, and how losses become coefficients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, get_args

from torch import Tensor

from zo2rt.model.decay import DecayRule
from zo2rt.model.loss import LossFn, model_loss

Rule = Literal["sgd", "sign"]
"""'sgd': the update follows g (MeZO, arXiv:2305.17333); 'sign': only its sign counts
(ZO-signSGD, Liu et al., ICLR 2019)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """What of a projected gradient g reaches the weights. Nothing here keeps dense state."""

    rule: Rule = "sgd"
    clip: float | None = None
    """Bound on the magnitude of every g, before the rule; None leaves it alone."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}; got {self.rule!r}")
        if self.clip is not None and not 0.0 < self.clip < inf:
            raise ValueError(
                f"clip must be > 0 and finite, or None to leave g alone; got {self.clip}"
            )

    def applied(self, g: float) -> float:
        """The g that the update uses; a NaN stays one."""
        if self.clip is not None:
            g = max(-self.clip, min(self.clip, g)) if g == g else g
        if self.rule == "sign" and g == g:
            return float((g > 0.0) - (g < 0.0))
        return g


def projected_gradients(
    losses: Sequence[float], *, samples: int, microbatches: int, eps: float
) -> tuple[float, ...]:
    """g = (mean loss of W+ - mean loss of W-) / (2 eps) per sample, in float64 and lane order.

    ``losses`` are (sample, sign, microbatch), the last fastest.
    """
    assert len(losses) == 2 * samples * microbatches
    means = [
        sum(losses[first : first + microbatches]) / microbatches
        for first in range(0, len(losses), microbatches)
    ]
    pairs = zip(means[::2], means[1::2], strict=True)
    return tuple((plus - minus) / (2.0 * eps) for plus, minus in pairs)


def published_gradient(plus: Tensor, minus: Tensor, *, eps: float) -> float:
    """g as MeZO and ZO2 divide it: two losses in their own dtype, fp32 of most models, and there.

    Both codes give PyTorch the same expression (princeton-nlp/MeZO, large_models/trainer.py,
    zo_step; liangyuwang/zo2, zo2/optimizer/mezo_sgd/zo.py, compute_grad). It is left to PyTorch
    here too: on CUDA a division by a number is a product with its reciprocal.
    """
    return ((plus - minus) / (2 * eps)).item()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What to minimise, and a small batch with which the model is explored."""

    example: Mapping[str, Tensor]
    loss_fn: LossFn = model_loss
    decays: DecayRule | None = None
    """Which parameters weight decay applies to; None: what `rule_of` the recipe's reference says,
    which is `by_type` where it has none."""
    blocks: str | None = None
    """Name of the ``nn.ModuleList`` whose modules are the blocks, or of several in order of
    execution, with commas between them; those of any other list stay on the device. None: of the
    model's only list of blocks, or of all that the example runs (encoder, decoder, images)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MezoSgd:
    """Hyper-parameters of MeZO-SGD (arXiv:2305.17333, algorithm 1). 0 is a seed."""

    lr: float
    eps: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0
    estimator: Estimator = field(default_factory=Estimator)
    stochastic_rounding: bool = False
    """Of the updates of fp16 and bf16 masters, which would swallow small ones."""
    sparsity: float = 0.0
    """Sparse-MeZO (arXiv:2402.15751): the part of every matrix, its largest weights, that stays as
    it is. Vectors and what does not decay are trained densely."""

    def __post_init__(self) -> None:
        if not 0.0 < self.eps < inf:
            raise ValueError(f"eps must be > 0 and finite; got {self.eps}")
        if not (0.0 <= self.lr < inf and 0.0 <= self.weight_decay < inf):
            raise ValueError(
                f"lr and weight_decay must be >= 0 and finite; got {self.lr} and "
                f"{self.weight_decay}"
            )
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"sparsity must be in 0 .. 1, and less than 1; got {self.sparsity}")
