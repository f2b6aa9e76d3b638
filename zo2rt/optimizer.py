"""What is minimised, and the hyper-parameters with which it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from zo2rt.decay import DecayRule, by_type
from zo2rt.estimator import Estimator
from zo2rt.loss import LossFn, model_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What to minimise, and a small batch with which the model is explored."""

    example: Mapping[str, Tensor]
    loss_fn: LossFn = model_loss
    decays: DecayRule = by_type
    """Which parameters weight decay applies to."""


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
        if not self.eps > 0.0:
            raise ValueError(f"eps must be > 0; got {self.eps}")
        if not (self.lr >= 0.0 and self.weight_decay >= 0.0):
            raise ValueError(
                f"lr and weight_decay must be >= 0; got {self.lr} and {self.weight_decay}"
            )
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"sparsity must be in 0 .. 1, and less than 1; got {self.sparsity}")
