"""Every published claim, one row per value, in the order of `zo2sim/data/published.toml`."""

from functools import cache

from analysis.claims.devices import device_rows
from analysis.claims.feasibility import feasibility_rows
from analysis.claims.galore import galore_rows
from analysis.claims.measured import measured_rows
from analysis.claims.memory import memory_rows
from analysis.claims.overhead import overhead_rows
from analysis.claims.row import Row
from analysis.claims.throughput import throughput_rows
from analysis.fits.memory import published_claims


@cache
def reproduce() -> tuple[Row, ...]:
    """All rows. A claim without a row is an error of ours, not of a user."""
    rows = (
        *memory_rows(),
        *feasibility_rows(),
        *overhead_rows(),
        *throughput_rows(),
        *measured_rows(),
        *galore_rows(),
        *device_rows(),
    )
    order = list(published_claims())
    missing = set(order) - {row.claim for row in rows}
    assert not missing, f"claims without a prediction: {sorted(missing)}"
    return tuple(sorted(rows, key=lambda row: order.index(row.claim)))
