"""Records: what one step adds to the journal, enough to apply its update without a forward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from zo2rt.noise import Draw, Update, coefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Learning rate and weight decay of one parameter group in one step."""

    group: str
    lr: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            if not isfinite(getattr(self, name)):
                raise ValueError(
                    f"group {self.group}: {name} must be finite; got {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One step. Floats keep all 64 bits on disk.

    ``losses`` are every lane's, in lane order; ``draws`` the samples', in ascending order;
    ``cursor`` is the number of the first microbatch that the next step reads. A ``skipped`` step
    changes no weight, by decay neither; a loss or a g that is not finite must be skipped.
    """

    step: int
    losses: tuple[float, ...]
    draws: tuple[Draw, ...]
    rates: tuple[Rate, ...]
    eps: float
    skipped: bool
    cursor: int

    def __post_init__(self) -> None:
        if self.step < 0 or self.cursor < 0:
            raise ValueError(
                f"step and cursor of a record must be >= 0; got {self.step} and {self.cursor}"
            )
        if not (isfinite(self.eps) and self.eps > 0):
            raise ValueError(f"step {self.step}: eps must be > 0 and finite; got {self.eps}")
        if not self.draws:
            raise ValueError(f"step {self.step}: a record needs at least one draw; got none")
        if must_skip(self.losses, self.draws, self.rates) and not self.skipped:
            raise ValueError(
                f"step {self.step}: every loss, and lr g / q in fp32, must be finite unless the "
                f"step is journalled as skipped; got losses {self.losses}, draws {self.draws}"
            )

    def update(self, group: str) -> Update:
        """What a step that was not skipped does to the parameters of a group."""
        rate = next(rate for rate in self.rates if rate.group == group)
        return Update(draws=self.draws, lr=rate.lr, weight_decay=rate.weight_decay)


def must_skip(losses: Sequence[float], draws: Sequence[Draw], rates: Sequence[Rate]) -> bool:
    """Whether a loss, or a coefficient lr g / q of the update in fp32, is NaN or infinite."""
    gradients = (draw.g for draw in draws)
    applied = (a for rate in rates for a in coefficients(draws, rate.lr))
    return not all(map(isfinite, (*losses, *gradients, *applied)))


def to_json(record: Record) -> dict[str, Any]:
    """Plain values; floats as hexadecimal text, which `from_json` reads back to the same bits."""
    return {
        "step": record.step,
        "losses": [_hex(loss) for loss in record.losses],
        "draws": [[draw.key, _hex(draw.g)] for draw in record.draws],
        "rates": [[r.group, _hex(r.lr), _hex(r.weight_decay)] for r in record.rates],
        "eps": _hex(record.eps),
        "skipped": record.skipped,
        "cursor": record.cursor,
    }


def from_json(value: Mapping[str, Any]) -> Record:
    """The record; raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is none."""
    real = float.fromhex
    return Record(
        step=value["step"],
        losses=tuple(map(real, value["losses"])),
        draws=tuple(Draw(key=key, g=real(g)) for key, g in value["draws"]),
        rates=tuple(
            Rate(group=group, lr=real(lr), weight_decay=real(decay))
            for group, lr, decay in value["rates"]
        ),
        eps=real(value["eps"]),
        skipped=value["skipped"],
        cursor=value["cursor"],
    )


def _hex(value: float) -> str:
    return float(value).hex()  # a NumPy scalar or a whole number too
