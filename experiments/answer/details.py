"""What `plan --details` adds: the bound, memory item by item, bands of the changes, sources."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.answer.advice import Advice
from experiments.answer.trust import Trust, band_cell, hold_out_words
from experiments.case.sizes import show_bytes, show_number, show_seconds
from experiments.screen import headed, left, pairs, right
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.runtime import streamed_bytes
from zo2sim.predict.predict import Prediction
from zo2sim.simulate.bounds import PLAIN_WORDS

_LISTS = ("assumed", "extrapolated")
_NAMED = 3  # sources named per topic on the screen
_SHOWN_BYTES = 1 << 20  # smaller items are summed up


def print_details(
    prediction: Prediction, trust: Trust, advice: Sequence[Advice], console: Console
) -> None:
    """Everything that the verdict leaves out."""
    console.print(pairs(_speed(prediction)))
    for place in (MemoryPlace.DEVICE, MemoryPlace.HOST, MemoryPlace.NVME):
        if prediction.memory.itemised(place):
            needed = next(found for found in prediction.fits if found.place is place).sentence
            console.print(f"{place} memory{needed.removeprefix(str(place))}")
            console.print(_memory(prediction, place))
    if advice:
        console.print(_changes(advice))
    console.print(pairs(_sources(prediction, trust)))


def _speed(prediction: Prediction) -> Iterator[tuple[str, str]]:
    bound, workload = prediction.bound, prediction.case.workload
    gap = max(0.0, prediction.gap)  # never "-0.0%"
    limits = sorted(bound.limits_s.items(), key=lambda limit: -limit[1])
    yield "lower bound", f"{show_seconds(bound.step_s)}; the {workload.work} is {gap:.1%} above it"
    for number, (name, limit_s) in enumerate(limits):
        words = f"{show_seconds(limit_s)} {PLAIN_WORDS.get(name, name)}"
        yield "alone it takes" if number == 0 else "", words
    exposed = prediction.steady.exposed_s / prediction.steady.length_s
    yield "exposed copies", f"{exposed:.1%} of the {workload.work}"
    if not workload.once:
        yield "first step", show_seconds(prediction.trace.first_step_s)
    yield "hold-out error", hold_out_words(prediction.case.machine)


def _memory(prediction: Prediction, place: MemoryPlace) -> Table:
    table = headed("item", *right("size"), gap=1)
    items = prediction.memory.itemised(place)
    for name, nbytes in items.items():
        if nbytes >= _SHOWN_BYTES:
            table.add_row(name, show_bytes(nbytes))
    if place is MemoryPlace.HOST and prediction.case.plan.tier == "ram":
        case = prediction.case
        rounded = streamed_bytes(case.model, case.plan, case.recipe, "rounded")
        table.add_row("pinned by PyTorch, they take", show_bytes(rounded), style="dim")
    small = sum(nbytes for nbytes in items.values() if nbytes < _SHOWN_BYTES)
    if small:
        table.add_row("smaller items", show_bytes(small))
    return table


def _changes(advice: Sequence[Advice]) -> Table:
    """What the verdict says of the changes, as far as it is uncertain."""
    columns = left("tokens/s", "90 % band", whole=True)
    table = headed("change", *columns, title="what to change first, with bands", gap=1)
    for item in advice:
        after = item.prediction
        ends = Trust.of(after).tokens_per_s_band
        table.add_row(
            item.change,
            show_number(after.tokens_per_s),
            band_cell(after.tokens_per_s, *ends, show_number) or "none",
        )
    return table


def _sources(prediction: Prediction, trust: Trust) -> Iterator[tuple[str, str]]:
    for topic, text in trust.rows():
        yield topic, escape(text)
    for topic, text in prediction.provenance.items():
        names = text.split(", ") if topic in _LISTS else [text]
        more = f", and {len(names) - _NAMED} more (--json has all)" if len(names) > _NAMED else ""
        yield f"[dim]{topic}[/]", f"[dim]{escape(', '.join(names[:_NAMED]) + more)}[/]"
