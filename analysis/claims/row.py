"""One published value beside its prediction, and whether they agree."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from analysis.claims.setups import tolerance
from analysis.memory_fit import published_claims

Kind = Literal["memory", "share", "feasibility", "ratio", "throughput", "speed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``why`` explains a disagreement, and must; where both agree it may add what they rest on.

    ``allowed`` is the relative error up to which values agree, where that decides; ``low`` and
    ``high`` are the range over the plausible setups, where something is left open.
    """

    claim: str
    item: str
    kind: Kind
    unit: str
    published: float
    predicted: float
    agrees: bool
    why: str = ""
    allowed: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def relative_error(self) -> float:
        """Prediction over publication, less one."""
        return self.predicted / self.published - 1.0

    @property
    def settled(self) -> bool:
        """The claim agrees, or the reason why it does not is known."""
        return self.agrees or bool(self.why)

    @property
    def source(self) -> str:
        """Where the value was published."""
        return str(published_claims()[self.claim]["source"])

    @property
    def record(self) -> dict[str, Any]:
        """The row as plain data."""
        found = {**asdict(self), "relative_error": self.relative_error, "source": self.source}
        return {"id": f"{self.claim}/{self.item}", **found}


def value(claim: str, item: str) -> float:
    """A published value. Raises ``KeyError`` where the claim has none of that name."""
    return float(published_claims()[claim]["values"][item])


def within(predicted: float, published: float, share: float) -> bool:
    """Whether the prediction is within a share of the published value."""
    return abs(predicted / published - 1.0) <= share


def inside(low: float, high: float, published: float) -> bool:
    """Whether a range contains the published value and is narrow enough to say something."""
    return low <= published <= high and high <= tolerance("widest_range") * low
