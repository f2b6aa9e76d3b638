"""What a sweep found, as numbers; the report's words are put around them."""

from collections import Counter
from dataclasses import dataclass
from statistics import median

import numpy as np

from analysis.plots.sweep.published import compared, known
from analysis.plots.sweep.throughput import mezo, speedups
from analysis.table import GIB, Floats, Table, device_gib, floats, has, of_question, texts, where


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestModel:
    """Memory of the largest model that a question has: device bytes by series."""

    model: str
    device_bytes: dict[str, float]
    host_bytes: float


def largest_model(table: Table) -> LargestModel | None:
    """Of question ``memory``; ``host_bytes`` is that of series ``zo2``."""
    if not has(table, "memory"):
        return None
    rows = of_question(table, "memory")
    rows = where(rows, "model_elements", floats(rows, "model_elements").max())
    own = where(rows, "label", "zo2")
    return LargestModel(
        model=texts(rows, "model")[0],
        device_bytes=dict(zip(texts(rows, "label"), device_gib(rows) * GIB, strict=True)),
        host_bytes=np.nan if own.empty else float(floats(own, "host_bytes")[0]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Absolute relative errors of predicted published figures."""

    count: int
    median: float
    worst: float
    worst_model: str


def memory_errors(table: Table, published: Table) -> Errors | None:
    """None when no published figure has a prediction beside it."""
    comparisons = known(compared(table, published))
    if not comparisons:
        return None
    worst = max(comparisons, key=lambda comparison: abs(comparison.error))
    return Errors(
        count=len(comparisons),
        median=median(abs(comparison.error) for comparison in comparisons),
        worst=abs(worst.error),
        worst_model=worst.model,
    )


def ratios_to_mezo(table: Table, label: str) -> Floats:
    """Predicted throughput of a series over MeZO's with as many microbatches, for each model that
    has both."""
    if not has(table, "throughput"):
        return np.array([])
    rows = of_question(table, "throughput")
    ratio = speedups(where(rows, "label", label), mezo(rows))
    return ratio[~np.isnan(ratio)]


def binding_counts(rows: Table) -> dict[str, int]:
    """How many configurations each resource binds, most frequent first."""
    return dict(Counter(sorted(texts(rows, "binding_resource"))).most_common())
