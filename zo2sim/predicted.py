"""A prediction with its band, for who asks in Python: numbers, a line of text, a card in HTML."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape

from zo2sim.memory.account import GIB, Demand
from zo2sim.predict.bands import Band, band
from zo2sim.predict.predict import Prediction, extrapolations
from zo2sim.sizes import show_number, show_seconds

_BAR = (
    '<div style="width:16em;height:0.8em;border:1px solid currentColor">'
    '<div style="width:{width:.1f}%;height:100%;background:{colour}"></div></div>'
)
_FITS, _FAILS = "#2a8a4a", "#b3261e"


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What `zo2sim.predict` returns; every figure is that of a steady step.

    ``prediction`` has the rest: the trace, every limit, the memory item by item, the sources.
    """

    prediction: Prediction

    @property
    def fits(self) -> bool:
        """Device, host and drive all have room."""
        return self.prediction.fit

    @property
    def step_s(self) -> float:
        """Seconds per step."""
        return float(self.prediction.step_s)

    @property
    def tokens_per_s(self) -> float:
        """Data tokens per second."""
        return float(self.prediction.tokens_per_s)

    @property
    def step_s_band(self) -> tuple[float, float]:
        """Both ends of the 90 % band of the step."""
        return self.band.low_step_s, self.band.high_step_s

    @property
    def tokens_per_s_band(self) -> tuple[float, float]:
        """Both ends of the 90 % band of the tokens per second."""
        return self.band.low_tokens_per_s, self.band.high_tokens_per_s

    @property
    def binds(self) -> tuple[str, ...]:
        """What a faster step needs more of, in plain words: the limits that bind alike."""
        return self.prediction.bound.words

    @property
    def memory(self) -> dict[str, tuple[int, int]]:
        """By place, bytes that are needed and bytes that are there, where any are needed."""
        return {
            str(place.place): (place.needed_bytes, place.available_bytes) for place in self._places
        }

    @property
    def extrapolated(self) -> tuple[str, ...]:
        """What of the case was neither measured nor calibrated."""
        return extrapolations(self.prediction.case)

    @cached_property
    def band(self) -> Band:
        """How uncertain it is, and why; drawn when it is first asked for."""
        return band(self.prediction)

    @property
    def _places(self) -> tuple[Demand, ...]:
        return tuple(place for place in self.prediction.fits if place.needed_bytes)

    @property
    def verdict(self) -> str:
        """``opt-13b on rtx-4090-24gb, zo2: fits``."""
        case = self.prediction.case
        words = "fits" if self.fits else "does not fit"
        return f"{case.model.name} on {case.machine.name}, {case.plan.policy}: {words}"

    def __repr__(self) -> str:
        speed = f"{show_number(self.tokens_per_s)} tokens/s, step {show_seconds(self.step_s)}"
        return f"<{self.verdict}; {speed}; binds: {' and '.join(self.binds)}>"

    def _repr_html_(self) -> str:
        """A card for notebooks: verdict, band, what binds, memory as bars."""
        colour = _FITS if self.fits else _FAILS
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(topic)}</th>"
            f"<td style='text-align:left'>{content}</td></tr>"
            for topic, content in self._rows()
        )
        return (
            f"<div><strong style='color:{colour}'>{escape(self.verdict)}</strong>"
            f"<table>{rows}</table></div>"
        )

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Topics with their HTML."""
        work = self.prediction.case.workload.work
        low, high = (show_seconds(end) for end in self.step_s_band)
        yield work, f"{show_seconds(self.step_s)} (90&nbsp;%: {low} to {high})"
        low, high = (show_number(end) for end in self.tokens_per_s_band)
        yield "tokens/s", f"{show_number(self.tokens_per_s)} (90&nbsp;%: {low} to {high})"
        yield "binds", escape(" and ".join(self.binds))
        for place in self._places:
            yield str(place.place), _bar(place)


def _bar(place: Demand) -> str:
    share = place.needed_bytes / max(place.available_bytes, 1)
    bar = _BAR.format(width=min(100.0, 100.0 * share), colour=_FITS if place.fits else _FAILS)
    words = f"{place.needed_bytes / GIB:.1f} of {place.available_bytes / GIB:.1f} GiB"
    missing = "" if place.fits else f": {place.missing_bytes / GIB:.1f} GiB missing"
    return f"{bar}{words}{missing}"
