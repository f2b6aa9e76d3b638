"""Published device memory of ZO2, MeZO and AdamW, and GaLore's optimizer memory."""

from collections.abc import Iterator

from analysis.claims.row import Row, value, within
from analysis.claims.setups import setup, tolerance
from analysis.fits.memory import fit_context, published_rows
from zo2sim.baselines.galore import adam_state_bytes, state_bytes
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


def galore_rows() -> Iterator[Row]:
    """How much of Adam's states GaLore saves, in percent, in 16 and in 8 bits.

    Judged by what is left: 79 % saved instead of 82 % is a fifth more memory.
    """
    case = setup("galore-7b-24gb", "device_gb").nominal
    rank, dtype = case.training.rank, case.training.dtype
    full = adam_state_bytes(case.model, dtype)
    all_in_8 = state_bytes(case.model, rank, dtype, eight_bit=False) / dtype.bytes
    reason = (
        f"; the published code quantises the moments and keeps the projections in {dtype}; were "
        f"they counted in 8 bits too, {100 * (1 - all_in_8 / full):.1f} % would be saved"
    )
    for item, eight_bit in (("saved_percent", False), ("saved_8bit_percent", True)):
        published = value("galore-7b-24gb", item)
        predicted = 100 * (1 - state_bytes(case.model, rank, dtype, eight_bit=eight_bit) / full)
        agrees = within(100 - predicted, 100 - published, tolerance("share"))
        yield Row(
            claim="galore-7b-24gb",
            item=item,
            kind="share",
            unit="%",
            published=published,
            predicted=predicted,
            agrees=agrees,
            allowed=tolerance("share"),
            why=f"{case.model.name} at rank {rank}: of Adam's moments in {dtype} "
            f"{100 - predicted:.1f} % are left, not {100 - published:.1f} %"
            f"{'' if agrees else reason}",
        )
