"""The section on what fits one card and the RAM that people have."""

from collections.abc import Iterator, Sequence

from analysis.plots.style import model_title
from analysis.plots.sweep.ram import EXACT, RAM_GIB, ROUNDED, SYSTEM_GIB, Need, answers_ram, needs
from analysis.report.document import FigureBlock, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import DASH, SPACE, counted, listed, number, seconds
from analysis.table import GIB, Table, of_question, unique

_LEAST_ELEMENTS = 6e9  # smaller models fit everywhere; the table would only grow


def card_section(table: Table) -> Section | None:
    """Question ``with_24gb``: the largest model by amount of RAM, and every model's need."""
    if not answers_ram(table):
        return None
    found = needs(table)
    (card,) = unique(of_question(table, "with_24gb"), "machine")
    words = (
        f"What can a user of one {card} fine-tune, whole or by adapters, with sequences of 2048 "
        f"tokens (or as many as the model takes), one at a time? {SYSTEM_GIB:.0f}{SPACE}GiB of RAM "
        "are left to the system. ",
        Ref("largest"),
        f" answers by amount of RAM. {_answers(found)} ",
        Ref("ram"),
        " shows what each model needs, ",
        Ref("models"),
        f" which RAM is enough for it and how fast it then is.{_too_large(found)}",
    )
    figure = FigureBlock(
        key="ram",
        caption=f"Host memory in fp16 against amounts of RAM (dashed), streamed through {card}. "
        "Orange: what PyTorch's page-locked allocator makes of it.",
    )
    title = "What a 24 GB card can fine-tune"
    return Section(title, (Paragraph(*words), _largest_table(found), figure, _models_table(found)))


def card_sentence(table: Table) -> str:
    """For the abstract: the largest model by amount of RAM; empty where it was not asked."""
    if not answers_ram(table):
        return ""
    found = needs(table)
    parts = [
        f"{model_title(need.model)} with {ram}{SPACE}GiB of RAM"
        for ram in RAM_GIB
        if (need := largest(found, EXACT, ram)) is not None
    ]
    (card,) = unique(of_question(table, "with_24gb"), "machine")
    return f"One {card} can fine-tune {listed(parts)}, in fp16." if parts else ""


def _ways(found: Sequence[Need]) -> list[str]:
    return list(dict.fromkeys(need.label for need in found))


def largest(found: Sequence[Need], label: str, ram_gib: float) -> Need | None:
    """The largest model that fits, in one way, into that much RAM."""
    fitting = [need for need in found if need.label == label and need.fits(ram_gib)]
    return max(fitting, key=lambda need: need.elements, default=None)


def _largest_table(found: Sequence[Need]) -> TableBlock:
    ways = _ways(found)
    rows = [
        (f"{ram} GiB", *(_model_cell(largest(found, way, ram)) for way in ways)) for ram in RAM_GIB
    ]
    return TableBlock(
        key="largest",
        caption="The largest model of the presets that fits, with its step: in fp16 with buffers "
        "of the exact size, as PyTorch pins them, with the card's free memory filled with "
        "resident blocks, with an fp8 master, with adapters beside a base in four bits, and from "
        "NVMe. One slot where two do not fit.",
        header=("RAM", *ways),
        rows=tuple(rows),
        wide=True,
    )


def _model_cell(need: Need | None) -> str:
    return DASH if need is None else f"{model_title(need.model)}, {seconds(need.step_s)}"


def _answers(found: Sequence[Need]) -> str:
    parts = [
        f"{ram}{SPACE}GiB are enough for {model_title(need.model)} ({seconds(need.step_s)} a step)"
        for ram in RAM_GIB
        if (need := largest(found, EXACT, ram)) is not None
    ]
    less = [
        f"{ram}{SPACE}GiB only for {model_title(need.model)}"
        for ram in RAM_GIB
        if (need := largest(found, ROUNDED, ram)) is not None
        and need.model != getattr(largest(found, EXACT, ram), "model", None)
    ]
    tail = f" Pinned by PyTorch, {listed(less)}." if less else ""
    return f"In fp16, {listed(parts)}.{tail}" if parts else ""


def _too_large(found: Sequence[Need]) -> str:
    models = dict.fromkeys(need.model for need in found)
    never = [
        model_title(model)
        for model in models
        if not any(need.fits_device for need in found if need.model == model)
    ]
    return (
        f" The card itself is too small for {listed(never)}, even with one slot." if never else ""
    )


def _models_table(found: Sequence[Need]) -> TableBlock:
    large = [need for need in found if need.elements >= _LEAST_ELEMENTS]
    ways = _ways(found)
    return TableBlock(
        key="models",
        caption=f"{counted(len({n.model for n in large}), 'model')} from 6 billion parameters on: "
        "smallest of these amounts of RAM that is enough, and tokens per second. A dash: more "
        "than the largest, or the card or the drive is too small.",
        header=("model", "fp16 GiB", *ways),
        rows=tuple(_model_rows(large, ways)),
        wide=True,
    )


def _model_rows(found: Sequence[Need], ways: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for model in dict.fromkeys(need.model for need in found):
        own = {need.label: need for need in found if need.model == model}
        size = f"{number(2 * own[EXACT].elements / GIB)}"
        yield (model_title(model), size, *(_enough(own[way]) for way in ways))


def _enough(need: Need) -> str:
    ram = next((ram for ram in RAM_GIB if need.fits(ram)), None)
    return DASH if ram is None else f"{ram}: {number(need.tokens_per_s)}/s"
