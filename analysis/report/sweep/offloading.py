"""The section on when offloading costs nothing: enough tokens per upload hide it."""

import math

from analysis.plots.sweep.share import Share, shares
from analysis.report.document import FigureBlock, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import DASH, SPACE, between, listed
from analysis.table import Table

HIDDEN = 0.99
"""Offloading costs nothing where a step reaches this share of the resident model's throughput."""


def offloading_section(table: Table) -> Section:
    """Of questions ``budget`` and ``budget_resident``."""
    resident, mezo = shares(table), shares(table, against="MeZO")
    words = (
        Ref("share"),
        " sets the plainest plan's throughput against that of the same runtime with the whole "
        "model on the device, were there a device that large. An upload serves every token of a "
        "step, so more tokens hide it. ",
        Ref("free-from"),
        f" has the fewest tokens per step at which offloading costs less than "
        f"{100 * (1 - HIDDEN):.0f}{SPACE}% and the plan still fits: {free_words(resident)}. "
        f"{_mezo_words(mezo)}",
    )
    figure = FigureBlock(
        key="share",
        caption="Throughput of OPT-175B within the budget, relative to the resident model with the "
        "same number of tokens per step.",
        wide=True,
    )
    return Section(
        "When offloading costs nothing", (Paragraph(*words), figure, _free_table(resident, mezo))
    )


def free_words(found: tuple[Share, ...]) -> str:
    """Fewest tokens per step that hide the copies, by generation, as a range over machines."""
    return "; ".join(
        f"PCIe {pcie}, {_token_range([one for one in found if one.pcie == pcie])}"
        for pcie in sorted({one.pcie for one in found})
    )


def _token_range(found: list[Share]) -> str:
    free = [one.hidden_from(HIDDEN) for one in found]
    known = [tokens for tokens in free if not math.isnan(tokens)]
    if not known:
        return "never within the budget"
    never = "" if len(known) == len(free) else f", {len(free) - len(known)} of {len(free)} never"
    return f"{between(known, _tokens)}{never}"


def _mezo_words(mezo: tuple[Share, ...]) -> str:
    """Against the published code of MeZO, and how they compare at one sequence per step."""
    parts = [
        f"{between(float(one.share[0]) for one in mezo if one.pcie == pcie)} on PCIe {pcie}"
        for pcie in sorted({one.pcie for one in mezo})
    ]
    return (
        "MeZO's published code draws its noise four times per step and perturbs in place, so it "
        f"is slower where noise matters. Against it offloading is free from: {free_words(mezo)}. "
        "At one sequence per step the throughput of the offloaded plan, with MeZO's as 1, is "
        f"{listed(parts)}."
    )


def _free_table(resident: tuple[Share, ...], mezo: tuple[Share, ...]) -> TableBlock:
    generations = sorted({one.pcie for one in resident})
    machines = list(dict.fromkeys(one.machine for one in resident))

    def cells(found: tuple[Share, ...], machine: str) -> tuple[str, ...]:
        own = {one.pcie: one.hidden_from(HIDDEN) for one in found if one.machine == machine}
        return tuple(_tokens(own.get(g, math.nan)) for g in generations)

    return TableBlock(
        key="free-from",
        caption="Fewest tokens per step, in units of 1024, from which offloading is free: against "
        "the same runtime with a resident model, and against MeZO's code. A dash: not within the "
        "budget.",
        header=(
            "machine",
            *(f"PCIe {g}" for g in generations),
            *(f"MeZO, PCIe {g}" for g in generations),
        ),
        rows=tuple((m, *cells(resident, m), *cells(mezo, m)) for m in machines),
        wide=True,
    )


def _tokens(count: float) -> str:
    return DASH if math.isnan(count) else f"{count / 1024:g}k"
