"""One case on every machine of the catalogue, the fastest first: `plan --machine all`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.answer.metrics import summary
from experiments.answer.trust import Trust, band_cell
from experiments.case.sizes import show_number
from experiments.case.spec import Spec
from experiments.cli import Answer
from experiments.screen import headed, left, right, tracked
from zo2sim.memory.account import GIB, Demand
from zo2sim.plan.workload import Workload
from zo2sim.predict.predict import Prediction, predict

EVERY = "all"
"""Stands for every machine of the catalogue that has a card."""
_POINT = "Host memory is assumed where --host-memory is not given; plan --machine NAME says more."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A machine's prediction, or the reason why it cannot run the plan."""

    machine: str
    found: tuple[Prediction, Trust] | None
    reason: str = ""

    @property
    def order(self) -> tuple[int, float, str]:
        """Those that fit first, the fastest of them before all others."""
        if self.found is None:
            return 2, 0.0, self.machine
        prediction, _ = self.found
        return int(not prediction.fit), -prediction.tokens_per_s, self.machine

    @property
    def content(self) -> dict[str, Any]:
        if self.found is None:
            return {"machine": self.machine, "fits": False, "reason": self.reason}
        return summary(*self.found)


def ranking(spec: Spec, names: Sequence[str], workload: Workload) -> Answer:
    """The case on every machine that is named. The answer is no where it fits on none.

    Raises ``ValueError`` where all refuse it for one reason, which is then none of a machine's.
    """
    rows = [
        _ranked(replace(spec, machine=name), workload)
        for name in tracked(names, "machines", total=len(names))
    ]
    if all(row.found is None for row in rows) and len({row.reason for row in rows}) == 1:
        raise ValueError(rows[0].reason)
    rows.sort(key=lambda row: row.order)
    fitting = [row for row in rows if row.found is not None and row.found[0].fit]
    content = {
        "model": spec.model,
        "fastest": fitting[0].machine if fitting else None,
        "machines": [row.content for row in rows],
    }
    title = f"{spec.model} with {spec.plan.policy}: fits {len(fitting)} of {len(rows)} machines"
    return Answer(content, lambda: Console().print(_table(rows, title)), yes=bool(fitting))


def _ranked(spec: Spec, workload: Workload) -> Ranked:
    try:
        prediction = predict(replace(spec.case(), workload=workload))
    except ValueError as error:  # a format that the card lacks
        return Ranked(machine=spec.machine, found=None, reason=str(error))
    return Ranked(machine=spec.machine, found=(prediction, Trust.of(prediction)))


def _table(rows: Iterable[Ranked], title: str) -> Table:
    figures = right("tokens/s", "90 % band", "card used", whole=True)
    machine = left("machine", whole=True)
    table = headed(*machine, *figures, "binds", title=escape(title), gap=1)
    table.caption, table.caption_justify = _POINT, "left"
    for row in rows:
        if row.found is None:
            table.add_row(row.machine, "", "", "", escape(row.reason))
            continue
        prediction, trust = row.found
        band = band_cell(prediction.tokens_per_s, *trust.tokens_per_s_band, show_number)
        short = [place for place in prediction.fits if not place.fits]
        table.add_row(
            row.machine,
            show_number(prediction.tokens_per_s),
            band or "none",
            f"{prediction.fits[0].needed_bytes / max(prediction.fits[0].available_bytes, 1):.0%}",
            _missing(short) if short else prediction.bound.words[0],
            style="dim" if short else None,
        )
    return table


def _missing(short: Sequence[Demand]) -> str:
    parts = (f"{place.place}: {place.missing_bytes / GIB:.1f} GiB missing" for place in short)
    return ", ".join(parts)
