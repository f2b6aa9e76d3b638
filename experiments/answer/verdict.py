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
from experiments.screen import bar, headed, left, pairs, show_command
from zo2sim.memory.account import GIB, Demand, MemoryPlace
from zo2sim.plan.choices import Plan
from zo2sim.predict.case import socket_bytes
from zo2sim.predict.predict import Prediction

_NAMES = {MemoryPlace.NVME: "drive"}
_BAR = 24  # columns
_NEXT = "next   "
_HOST = "host.memory_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A prediction with what is said of it.

    ``next_step`` is a command and what it does; None, as ``advice``, where nobody looked for one.
    ``own_host`` says that the user gave the host's
    memory, where a machine of the catalogue has an assumption.
    """

    prediction: Prediction
    trust: Trust
    advice: Sequence[Advice] | None
    next_step: tuple[Sequence[str], str] | None
    own_host: bool

    @property
    def headline(self) -> str:
        """Which case, and whether it fits."""
        case, share = self.prediction.case, self.trust.band.fits_share
        verdict = "[bold green]fits[/]" if self.prediction.fit else "[bold red]does not fit[/]"
        if 0.0 < share < 1.0:
            shown = share if self.prediction.fit else 1.0 - share
            verdict += f", in {shown:.0%} of what the machine's sizes may be"
        plan = case.plan
        shared = "" if plan.devices == 1 else f", {_shared(plan)}"
        name = escape(f"{case.model.name} on {case.machine.name}, {plan.policy}{shared}")
        return f"{name}: {verdict}"

    def show(self, console: Console) -> None:
        """Print it."""
        console.print(self.headline)
        console.print()
        console.print(pairs((*self._speed(), ("", ""), *self._room(console))))
        console.print()
        if self.advice is not None:
            console.print(self._changes(self.advice))
            console.print()
        console.print(pairs((("trust", self.trust.line),)))
        if self.next_step is not None:
            words, why = self.next_step
            show_command(console, _NEXT, words)
            console.print(f"{'':{len(_NEXT)}}{why}", highlight=False)

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
        sockets = socket_bytes(self.prediction.case)
        if len(sockets) > 1:
            room = self.prediction.case.machine.host.memory_bytes.value / len(sockets)
            need = " + ".join(f"{nbytes / GIB:.1f}" for nbytes in sockets)
            yield "sockets", f"{need} GiB of blocks, {room / GIB:.0f} GiB each"

    def _amount(self, place: Demand) -> str:
        need, have = place.needed_bytes / GIB, place.available_bytes / GIB
        amount = f"{need:.1f} of {have:.1f} GiB"
        ours = place.place is MemoryPlace.HOST and not self.own_host
        assumed = ours and self.prediction.case.machine.quantities[_HOST].provenance == "assumed"
        said = " (assumed, --host-memory)" if assumed else ""
        if place.fits:
            return amount + said
        missing = f"{place.missing_bytes / GIB:.1f} GiB missing"
        return f"[red]{amount}: {missing}[/] ({place.largest}){said}"

    def _changes(self, advice: Sequence[Advice]) -> RenderableType:
        if not advice:
            gain = "helps" if self.prediction.fit else "makes it fit"
            return f"No single change of the plan that was tried {gain}."
        base = self.prediction
        table = headed("what to change first", *left("tokens/s", "device"), "then binds", gap=1)
        for item in advice:
            after = item.prediction
            table.add_row(
                item.change,
                f"x {after.tokens_per_s / base.tokens_per_s:.2f}",
                f"{after.memory.device_bytes / GIB:.1f} GiB",
                after.bound.words[0],
            )
        return table


def _shared(plan: Plan) -> str:
    """How several devices share the work: ``4 devices, ring of 2 lane groups``."""
    groups = f" of {plan.lane_groups} lane groups a sign" if plan.lane_groups > 1 else ""
    return f"{plan.devices} devices, {plan.placement}{groups}"


def _binds(found: Prediction) -> str:
    words = " and ".join(found.bound.words[:2])
    above = found.step_s / found.bound.step_s - 1.0
    if above < 0.001:
        return words
    return f"{words} ({above:.1%} above the bound)"
