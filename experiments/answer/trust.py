"""How far to trust a prediction: what stands beside every one that is shown."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.report.wording import seconds, span
from experiments.case.sizes import show_number, show_seconds
from zo2sim.cost.parts import KERNELS
from zo2sim.machines.machine import Machine
from zo2sim.predict.bands import COVERAGE, MISFIT, Band, band
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, extrapolations

_NONE = "nothing"
COMMAND = "zo2sim calibrate --backend cuda"
_MOSTLY = 0.2
"""Share of a band's width from which its cause is worth telling."""
_MEASURED_BY = {
    "link.both_": ("the link's rate both ways", "link"),
    "link.": ("the link's rate", "link"),
    MISFIT: ("how far kernels are from their model", "products"),
    "device.memory_": ("the rate of element-wise passes", "moves"),
    "device.launch_s": ("what launching a kernel takes", "launches"),
    "device.": ("the rate of noise", "noise"),
    KERNELS: ("how fast the card computes in long work", "products"),
    "host.": ("the host", "host"),
    "nvme.": ("the drive", "files"),
    "node.": ("what lies between the devices", "link"),
}
"""By the start of a constant's key, the longest of those that fit first: what it is, and the part
of a calibration that measures it."""
_NARROW = 0.005
"""Relative width below which a band only shows that what binds was not drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The band of a prediction, the machine that it is for, and what of the case lies beyond it.

    ``extrapolated`` names what was neither measured nor calibrated. Where the simulated step never
    repeated itself it is a mean over ``averaged_periods``; else these are 0.
    """

    band: Band
    machine: Machine
    extrapolated: tuple[str, ...]
    averaged_periods: int

    @classmethod
    def of(cls, prediction: Prediction) -> "Trust":
        return cls(
            band=band(prediction),
            machine=prediction.case.machine,
            extrapolated=extrapolations(prediction.case),
            averaged_periods=prediction.trace.averaged_periods,
        )

    @property
    def words(self) -> dict[str, str]:
        """By topic: what the band is made of and lacks, hold-out error, extrapolation, sources."""
        return {
            "band_holds": "; ".join(self.band.holds) or _NONE,
            "band_lacks": ", ".join(self.band.lacks) or _NONE,
            **_standing(self.machine, self.extrapolated),
        }

    @property
    def grounds(self) -> dict[str, str]:
        """For a report: the words, and the band that they are about."""
        own = self.band
        return {"band": f"{span(own.low_step_s, own.high_step_s, seconds)} per step", **self.words}

    @property
    def content(self) -> dict[str, Any]:
        """For JSON."""
        own, found = self.band, self.machine.hold_out
        return {
            "band": {
                "coverage": COVERAGE,
                "step_s": [own.low_step_s, own.high_step_s],
                "tokens_per_s": list(self.tokens_per_s_band),
                "fits_share": own.fits_share,
                "draws": own.draws,
                "widest": own.widest,
                "widest_share": own.widest_share,
                "holds": list(own.holds),
                "lacks": list(own.lacks),
            },
            "hold_out_error": None if found is None else asdict(found),
            "extrapolated": list(self.extrapolated),
            "averaged_periods": self.averaged_periods,
        }

    @property
    def metrics(self) -> dict[str, float]:
        """For records: ends of bands beside the metrics that they belong to."""
        return {
            "step_s_low": self.band.low_step_s,
            "step_s_high": self.band.high_step_s,
            "tokens_per_s_low": self.band.low_tokens_per_s,
            "tokens_per_s_high": self.band.high_tokens_per_s,
            "fits_share": self.band.fits_share,
        }

    def speed(
        self, step_s: float, tokens_per_s: float, *, work: str = "step"
    ) -> Iterator[tuple[str, str]]:
        """For the screen: step and throughput with their bands, and the hold-out error."""
        own = self.band
        yield work, with_band(step_s, own.low_step_s, own.high_step_s, show_seconds)
        yield "tokens/s", with_band(tokens_per_s, *self.tokens_per_s_band, show_number)
        yield "hold-out error", hold_out_words(self.machine)

    @property
    def line(self) -> str:
        """In one line: real runs, and what makes the band wide."""
        found, extrapolated, wide = self.machine.hold_out, len(self.extrapolated), self._widest
        real = hold_out_words(self.machine)
        if found is not None:
            real = f"{found.mape:.1%} mean error on {found.n} real runs, worst {found.max_ape:.1%}"
        if self.averaged_periods:
            real = f"a mean of {self.averaged_periods} periods, none of which repeats; {real}"
        sizes = f"; {extrapolated} size{'s' * (extrapolated > 1)} extrapolated"
        if wide is None:
            return real + (sizes if extrapolated else "")
        return f"{real}; {self.band.widest_share:.0%} of the band: {wide[0]}"

    @property
    def _widest(self) -> tuple[str, str | None] | None:
        """What makes the band wide, and the part of a calibration that measures it."""
        own = self.band
        if own.width < _NARROW or own.widest_share < _MOSTLY or self.machine.cpu is not None:
            return None
        known = (found for key, found in _MEASURED_BY.items() if own.widest.startswith(key))
        return next(known, (own.widest, None))

    @property
    def _narrower(self) -> str | None:
        """What makes the band wide, and which measurement would narrow it."""
        if self._widest is None:
            return None
        names, part = self._widest
        wide = f"{self.band.widest_share:.0%} of its width is {names}"
        return wide if part is None else f"{wide}; measure yours: {COMMAND} --only {part}"

    @property
    def tokens_per_s_band(self) -> tuple[float, float]:
        """Both ends, beside a throughput."""
        return self.band.low_tokens_per_s, self.band.high_tokens_per_s

    def rows(self) -> Iterator[tuple[str, str]]:
        """For the screen, below the prediction: what the band is made of."""
        if self.averaged_periods:
            yield "steady state", f"none found: the mean of {self.averaged_periods} periods"
        yield "90 % band", f"holds {self.words['band_holds']}"
        narrower = self._narrower
        if narrower is not None:
            yield "", narrower
        if self.band.lacks:
            yield "", f"lacks the error of {summed(self.band.lacks)}: no interval is known"


def standing(case: Case) -> dict[str, str]:
    """What can be said without a band: the hold-out error, and what is extrapolated."""
    return _standing(case.machine, extrapolations(case))


def unbanded(machine: Machine, extrapolated: str) -> dict[str, str]:
    """For a report on what has no band; ``extrapolated`` says what nobody measured."""
    lacking = {"band": _NONE, "band_holds": _NONE, "band_lacks": "every constant"}
    return {**lacking, **_standing(machine, (extrapolated,))}


def _standing(machine: Machine, extrapolated: tuple[str, ...]) -> dict[str, str]:
    return {
        "hold_out_error": hold_out_words(machine),
        "extrapolated": "; ".join(extrapolated) or _NONE,
        "sources": sources(machine),
    }


def sources(machine: Machine) -> str:
    """How many of its constants each kind of evidence gives: ``8 datasheet, 3 measured``."""
    kinds = Counter(quantity.provenance for quantity in machine.quantities.values())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def hold_out_words(machine: Machine) -> str:
    """The errors on real runs that calibration never saw, or that there are none."""
    if machine.hold_out is not None:
        return machine.hold_out.sentence
    if machine.validation is not None:
        return f"not validated since its constants were changed (was on {machine.validation.date})"
    return "not validated on real runs"


def with_band(value: float, low: float, high: float, show: Callable[[float], str]) -> str:
    """``21.8 s (90 %: 20.1 to 23.4 s)``; a band that nearly nothing widens is said to be none."""
    known = band_cell(value, low, high, show)
    if known is None:
        return f"{show(value)} (no band: what binds has no known spread)"
    return f"{show(value)} (90 %: {known})"


def band_cell(value: float, low: float, high: float, show: Callable[[float], str]) -> str | None:
    """``20.1 to 23.4 s``; None where there is no band that says anything."""
    return None if high - low < _NARROW * value else span(low, high, show)


def summed(names: Sequence[str], *, most: int = 2) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
