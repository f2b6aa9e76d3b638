"""Published device memory of ZO2, MeZO and AdamW."""

from collections.abc import Iterator

from analysis.claims.row import Row, within
from analysis.claims.setups import tolerance
from analysis.fits.memory import fit_context, published_rows
from zo2sim.memory.account import load_constants


def memory_rows() -> Iterator[Row]:
    """Every figure that `experiments.fit_memory` knows, with the constant on file."""
    context_bytes = load_constants().context_bytes
    found = fit_context(published_rows())
    for row, left_out in zip(found.rows, found.left_out_errors, strict=True):
        predicted = row.predicted_bytes(context_bytes) / row.unit_bytes
        allowed = tolerance("memory" if row.has_context else "allocated")
        yield Row(
            claim=row.claim,
            item=row.model,
            kind="memory",
            unit="GB",
            published=row.published,
            predicted=predicted,
            agrees=within(predicted, row.published, allowed),
            allowed=allowed,
            context="fitted" if row.fitted else "used" if row.has_context else "",
            left_out=row.published * (1.0 + left_out) if row.fitted else None,
        )
