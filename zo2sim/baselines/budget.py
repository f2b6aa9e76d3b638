"""How much training a method was published with: steps, and examples in each of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a published script runs where nobody chooses otherwise."""

    steps: int
    examples_per_step: int
    source: str

    def __post_init__(self) -> None:
        for field in ("steps", "examples_per_step"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be >= 1; got {getattr(self, field)}")

    @property
    def examples(self) -> int:
        """Examples read in all, those that are read again included."""
        return self.steps * self.examples_per_step


ZEROTH_ORDER = Budget(
    steps=20_000,
    examples_per_step=16,
    source="princeton-nlp/MeZO, large_models/mezo.sh at a0966b5: STEPS and BS",
)
FIRST_ORDER = Budget(
    steps=5 * 1000 // 8,
    examples_per_step=8,
    source="the same, finetune.sh: EPOCH of TRAIN examples, BS of them in a step",
)
"""Both for the tasks of arXiv:2305.17333, from the same 1,000 examples."""

CONVERGENCE = (
    "at comparable memory back-propagation with checkpoints converged up to 34.8 % sooner, with up "
    "to 3.8 times fewer computations and up to 31.1 % higher accuracy (arXiv:2506.21833)"
)
"""What a study that compared both found."""
