"""The section on one to eight cards: how to share a step, and where none of it helps."""

from collections.abc import Iterator, Sequence

from analysis.plots.style import model_title
from analysis.plots.sweep.one_to_eight import (
    PLACEMENTS,
    QUESTION,
    Scaling,
    answers_cards,
    scalings,
)
from analysis.report.document import FigureBlock, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import DASH, counted, listed, number, seconds
from analysis.table import Table, of_question, unique

TITLE = "One to eight cards: which way to share a step"
WORTH = 1.1
"""Twice the cards help where they make a step this many times as fast, and not where it is less."""

Best = tuple[str, float]
"""A placement, and its speed-up over one card."""


def cards_section(table: Table) -> Section | None:
    """Figure, table, what is best on each computer, and where more cards are of no use."""
    if not answers_cards(table):
        return None
    found = scalings(table)
    models = listed(map(model_title, unique(of_question(table, QUESTION), "model")))
    words = (
        Ref("one-to-eight"),
        f" sets steps of {models} on several cards against one card, with as many tokens per step "
        "on both. On a ring every card has a part of the blocks, and lanes go from card to card. "
        "Whole, every card uploads every block and runs some of the lanes. Sliced, every card "
        "uploads a part of each block and they gather it from each other. ",
        Ref("cards"),
        f" has the steps. {_best_words(found)}",
    )
    figure = FigureBlock(
        key="one-to-eight",
        caption="Speed of several cards as a multiple of one card's. Above: steps of one sequence. "
        "Below: of several, of which cards can take some each. A point that is missing is a plan "
        "that has fewer lanes than cards. Dashed: as many times as fast as there are cards.",
        wide=True,
    )
    return Section(
        "Several cards",
        (Paragraph(*words), figure, Paragraph(_useless_words(found)), _table(found)),
    )


def cards_sentence(table: Table) -> str:
    """For the abstract; empty where it was not asked."""
    return _best_words(scalings(table)) if answers_cards(table) else ""


def _best_words(found: Sequence[Scaling]) -> str:
    """What the most cards reach on every computer, with as many microbatches as were asked."""
    most = max(one.microbatches for one in found)
    count = max(max(one.devices) for one in found)
    parts: list[str] = []
    for machine in dict.fromkeys(one.machine for one in found):
        best = _best(found, machine, most, count)
        if best is not None:
            parts.append(f"{number(best[1])} on {machine} ({best[0]})")
    return (
        f"With {counted(most, 'sequence')} per step {count} cards are at best so many times as "
        f"fast as one: {listed(parts)}."
    )


def _best(found: Sequence[Scaling], machine: str, microbatches: int, devices: int) -> Best | None:
    here = [
        (one.placement, one.at(devices))
        for one in found
        if (one.machine, one.microbatches) == (machine, microbatches) and devices in one.devices
    ]
    return max(here, key=lambda best: best[1], default=None)


def _useless_words(found: Sequence[Scaling]) -> str:
    """Numbers of cards that are hardly faster than half as many, whatever the placement."""
    useless, slower = list(_useless(found)), list(_slower(found))
    first = (
        f"More cards help nowhere less than {WORTH:g} times."
        if not useless
        else f"Twice the cards make a step less than {WORTH:g} times as fast, shared in the best "
        f"way, here: {'; '.join(useless)}."
    )
    if not slower:
        return first
    return f"{first} Slower than one card alone: {'; '.join(slower)}."


def _useless(found: Sequence[Scaling]) -> Iterator[str]:
    for machine, microbatches in dict.fromkeys((s.machine, s.microbatches) for s in found):
        counts = sorted({count for one in found for count in one.devices})
        before: Best | None = ("alone", 1.0)
        for devices in counts:
            best = _best(found, machine, microbatches, devices)
            if best is not None and before is not None and best[1] < WORTH * before[1]:
                yield f"{_case(machine, microbatches)}, {devices} cards"
            before = best


def _slower(found: Sequence[Scaling]) -> Iterator[str]:
    for one in found:
        slow = [str(count) for count in one.devices if one.at(count) < 1.0]
        if slow:
            yield f"{one.placement}, {_case(one.machine, one.microbatches)}, {listed(slow)} cards"


def _case(machine: str, microbatches: int) -> str:
    return f"{machine} with {counted(microbatches, 'sequence')}"


def _table(found: Sequence[Scaling]) -> TableBlock:
    return TableBlock(
        key="cards",
        caption="Predicted step by computer, sequences per step and cards, for every way to share "
        "it, and the speed-up of the best. A dash: fewer lanes than cards.",
        header=("computer", "sequences", "cards", "one card", *PLACEMENTS, "best / one card"),
        rows=tuple(_rows(found)),
        wide=True,
    )


def _rows(found: Sequence[Scaling]) -> Iterator[tuple[str, ...]]:
    for machine, microbatches in dict.fromkeys((s.machine, s.microbatches) for s in found):
        own = {
            s.placement: s for s in found if (s.machine, s.microbatches) == (machine, microbatches)
        }
        alone = seconds(next(iter(own.values())).alone_s)
        for devices in sorted({count for one in own.values() for count in one.devices}):
            best = _best(found, machine, microbatches, devices)
            steps = (_step(own.get(placement), devices) for placement in PLACEMENTS)
            gain = DASH if best is None else number(best[1])
            yield machine, str(microbatches), str(devices), alone, *steps, gain


def _step(one: Scaling | None, devices: int) -> str:
    if one is None or devices not in one.devices:
        return DASH
    return seconds(one.alone_s / one.at(devices))
