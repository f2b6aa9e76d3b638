"""One published value beside its prediction, and whether they agree."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from analysis.claims.setups import tolerance
from analysis.fits.memory import published_claims

ClaimKind = Literal["memory", "share", "feasibility", "fit", "ratio", "throughput", "speed"]
Context = Literal["", "used", "fitted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``why`` explains a disagreement, and must; where both agree it may add what they rest on.

    ``allowed`` is the relative error up to which values agree, where that decides; ``low`` and
    ``high`` are the range over the plausible setups, where something is left open.

    In a row of kind ``fit`` both values are sizes that were asked about, or room and need: there
    is no error, only the verdict. ``context`` says whether the prediction ``used`` the one fitted
    constant, the CUDA context, or the row helped to get it ``fitted``; then ``left_out`` is the
    prediction with the constant fitted to the other rows.
    """

    claim: str
    item: str
    kind: ClaimKind
    unit: str
    published: float
    predicted: float
    agrees: bool
    why: str = ""
    allowed: float | None = None
    low: float | None = None
    high: float | None = None
    context: Context = ""
    left_out: float | None = None

    def __post_init__(self) -> None:
        if (self.context == "fitted") != (self.left_out is not None):
            raise ValueError(
                f"{self.claim} {self.item}: a row that helped to fit the context, and no other, "
                f"has a prediction with itself left out; got {self.context!r}, {self.left_out}"
            )

    @property
    def ratio(self) -> float:
        """Prediction over publication; of a share that is saved, what is left over what is."""
        if self.kind == "share":
            return (100.0 - self.predicted) / (100.0 - self.published)
        return self.predicted / self.published

    @property
    def relative_error(self) -> float | None:
        """`ratio` less one; None where nothing was predicted but whether it fits."""
        return None if self.kind == "fit" else self.ratio - 1.0

    @property
    def left_out_error(self) -> float | None:
        """The relative error of the prediction that owes nothing to this row."""
        return None if self.left_out is None else self.left_out / self.published - 1.0

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
        return {
            "id": f"{self.claim}/{self.item}",
            **asdict(self),
            "relative_error": self.relative_error,
            "left_out_error": self.left_out_error,
            "source": self.source,
        }


def value(claim: str, item: str) -> float:
    """A published value. Raises ``KeyError`` where the claim has none of that name."""
    return float(published_claims()[claim]["values"][item])


def within(predicted: float, published: float, share: float) -> bool:
    """Whether the prediction is within a share of the published value."""
    return abs(predicted / published - 1.0) <= share


def inside(low: float, high: float, published: float) -> bool:
    """Whether a range contains the published value and is narrow enough to say something."""
    return low <= published <= high and high <= tolerance("widest_range") * low
