"""The answer to one case on one screen: verdict, speed, what binds, memory, what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from experiments.answer.advice import Advice
from experiments.answer.trust import Trust, with_band
from experiments.case.sizes import show_number, show_seconds
from experiments.screen import bar, headed, left, pairs
from zo2sim.memory.account import GIB, Demand, MemoryPlace
from zo2sim.predict.predict import Prediction

_NAMES = {MemoryPlace.NVME: "drive"}
_BAR = 24  # columns
_HOST = "host.memory_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A prediction with what is said of it.

    ``next_step`` is a command and what it does; ``own_host`` says that the user gave the host's
    memory, where a machine of the catalogue has an assumption.
    """

    prediction: Prediction
    trust: Trust
    advice: Sequence[Advice]
    next_step: tuple[str, str]
    own_host: bool

    @property
    def headline(self) -> str:
        """Which case, and whether it fits."""
        case, share = self.prediction.case, self.trust.band.fits_share
        verdict = "[bold green]fits[/]" if self.prediction.fit else "[bold red]does not fit[/]"
        if 0.0 < share < 1.0:
            verdict += f", in {share:.0%} of what the machine's sizes may be"
        name = escape(f"{case.model.name} on {case.machine.name}, {case.plan.policy}")
        return f"{name}: {verdict}"

    def show(self, console: Console) -> None:
        """Print it."""
        console.print(self.headline)
        console.print()
        console.print(pairs((*self._speed(), ("", ""), *self._room(console))))
        console.print()
        console.print(self._changes())
        console.print()
        console.print(pairs(self._rest()))

    def _speed(self) -> Iterator[tuple[str, str]]:
        found, band = self.prediction, self.trust.band
        work, tokens = found.case.workload.work, found.case.recipe.tokens_per_step
        step = with_band(found.step_s, band.low_step_s, band.high_step_s, show_seconds)
        yield work, f"{step}, {tokens:,} tokens"
        ends = self.trust.tokens_per_s_band
        yield "tokens/s", with_band(found.tokens_per_s, *ends, show_number)
        yield "binds", _binds(found)

    def _room(self, console: Console) -> Iterator[tuple[str, RenderableType]]:
        for place in self.prediction.fits:
            if place.needed_bytes:
                share = place.needed_bytes / max(place.available_bytes, 1)
                row = Table.grid(padding=(0, 1))
                colour = "green" if place.fits else "red"
                row.add_row(
                    Text(bar(share, _BAR, ascii_only=console.options.ascii_only), style=colour),
                    self._amount(place),
                )
                yield _NAMES.get(place.place, str(place.place)), row

    def _amount(self, place: Demand) -> str:
        need, have = place.needed_bytes / GIB, place.available_bytes / GIB
        amount = f"{need:.1f} of {have:.1f} GiB"
        if not place.fits:
            return (
                f"[red]{amount}: {place.missing_bytes / GIB:.1f} GiB missing[/] ({place.largest})"
            )
        assumed = place.place is MemoryPlace.HOST and not self.own_host
        quantity = self.prediction.case.machine.quantities[_HOST]
        if assumed and quantity.provenance == "assumed":
            return f"{amount} (assumed, --host-memory)"
        return amount

    def _changes(self) -> RenderableType:
        if not self.advice:
            gain = "helps" if self.prediction.fit else "makes it fit"
            return f"No single change of the plan that was tried {gain}."
        base = self.prediction
        table = headed("what to change first", *left("tokens/s", "device"), "then binds", gap=1)
        for item in self.advice:
            after = item.prediction
            table.add_row(
                item.change,
                f"x {after.tokens_per_s / base.tokens_per_s:.2f}",
                f"{after.memory.device_bytes / GIB:.1f} GiB",
                after.bound.words[0],
            )
        return table

    def _rest(self) -> Iterator[tuple[str, str]]:
        command, why = self.next_step
        yield "trust", self.trust.line
        yield "next", f"[bold]{escape(command)}[/]"
        yield "", why


def _binds(found: Prediction) -> str:
    words = " and ".join(found.bound.words[:2])
    above = found.step_s / found.bound.step_s - 1.0
    if above < 0.001:
        return words
    return f"{words} ({above:.1%} above the bound)"
