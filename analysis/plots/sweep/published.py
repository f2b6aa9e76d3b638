"""Published memory figures beside what the sweep predicts for them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.table import GIB, Table, device_gib, floats, has, of_question, records, where

_CLAIMS = {"adamw": "AdamW", "mezo": "MeZO", "zo2": "zo2_reference"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One published figure; ``predicted_gib`` is NaN where nothing was predicted."""

    claim: str
    model: str
    billions: float
    published_gib: float
    predicted_gib: float

    @property
    def label(self) -> str:
        """The series that the claim is about."""
        return claim_label(self.claim)

    @property
    def is_allocated(self) -> bool:
        """Whether it counts what PyTorch allocated, not what the whole device holds."""
        return "allocated" in self.claim

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted_gib / self.published_gib - 1.0


def claim_label(claim: str) -> str:
    """The series that a claim is about: by the first word of its id.

    Raises ``ValueError`` for a claim about something else.
    """
    label = _CLAIMS.get(claim.split("-")[0])
    if label is None:
        known = ", ".join(f"{word}-..." for word in _CLAIMS)
        raise ValueError(f"a published memory claim must be one of {known}; got {claim!r}")
    return label


def compared(table: Table, published: Table) -> tuple[Comparison, ...]:
    """Published figures whose model has rows of question ``memory``, in their order.

    ``published`` has columns claim, model and gib.
    """
    return tuple(_compared(table, published)) if has(table, "memory") else ()


def known(comparisons: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
    """Those with a prediction."""
    return tuple(c for c in comparisons if not np.isnan(c.predicted_gib))


def _compared(table: Table, published: Table) -> Iterator[Comparison]:
    rows = of_question(table, "memory")
    for record in records(published):
        claim, model = str(record["claim"]), str(record["model"])
        of_model = where(rows, "model", model)
        if not of_model.empty:
            yield Comparison(
                claim=claim,
                model=model,
                billions=float(floats(of_model, "model_elements")[0]) / 1e9,
                published_gib=float(str(record["gib"])),
                predicted_gib=_predicted_gib(where(of_model, "label", claim_label(claim)), claim),
            )


def _predicted_gib(rows: Table, claim: str) -> float:
    allocated = "allocated" in claim
    gib = floats(rows, "device_allocated_bytes") / GIB if allocated else device_gib(rows)
    return float(gib[0]) if len(gib) else np.nan
