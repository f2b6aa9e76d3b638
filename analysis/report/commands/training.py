"""The report on first-order training by one method: room, time, and what binds."""

from collections.abc import Iterator, Mapping, Sequence

from analysis.plots.style import model_title
from analysis.report.document import (
    TRACE,
    Block,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.plain import files_offered
from analysis.report.trust import Grounds, trust_section
from analysis.report.wording import bind, gib, number, percent, seconds
from zo2sim.baselines import Method, TrainingCase, TrainingPrediction
from zo2sim.memory.account import MemoryPlace

_SHOWN_BYTES = 1 << 20  # smaller items are left out

_METHODS = {
    Method.ADAMW: "AdamW",
    Method.ZERO_OFFLOAD: "as ZeRO-Offload",
    Method.ZERO_INFINITY: "as ZeRO-Infinity",
    Method.FUYOU: "as Fuyou",
    Method.ROUNDPIPE: "as RoundPipe",
}


def training_document(
    predicted: TrainingPrediction,
    hazards: Sequence[str],
    *,
    grounds: Grounds,
    provenance: Mapping[str, str],
) -> Document:
    """``grounds`` is what is behind the prediction. Figure: ``timeline``."""
    case = predicted.case
    name = f"{model_title(case.model.name)} on {case.machine.name}"
    verdict = "It fits" if all(place.fits for place in case.fits) else "It does not fit"
    return Document(
        title=f"First-order training of {name}, {_METHODS[case.training.method]}",
        abstract=(f"{verdict}. A step takes {seconds(predicted.step_s)}.",),
        sections=(
            Section("Memory", tuple(_memory(case))),
            Section("One step", tuple(_step(predicted, hazards))),
            trust_section({case.machine.name: grounds}),
        ),
        provenance=tuple(provenance.items()),
    )


def _memory(case: TrainingCase) -> Iterator[Block]:
    verdicts = "; ".join(place.sentence for place in case.fits if place.needed_bytes)
    yield Paragraph(f"{verdicts[:1].upper()}{verdicts[1:]}. ", Ref("items"), " itemises it.")
    rows = tuple(
        (place.value, item, gib(nbytes))
        for place in MemoryPlace
        for item, nbytes in case.memory.itemised(place).items()
        if nbytes >= _SHOWN_BYTES
    )
    yield TableBlock(
        key="items",
        caption="Memory, item by item, from a MiB on.",
        header=("place", "item", "size"),
        rows=rows,
    )


def _step(predicted: TrainingPrediction, hazards: Sequence[str]) -> Iterator[Block]:
    proved = "; ".join(hazards) if hazards else "every pair of conflicting accesses is ordered"
    yield Paragraph(
        f"A step takes {seconds(predicted.step_s)}, {number(predicted.tokens_per_s)} tokens "
        f"per second or {number(predicted.flops_per_s / 1e12)} TFLOP/s as publications count. "
        f"It is {percent(predicted.gap)} above its lower bound, "
        f"{seconds(predicted.bound.step_s)}, and {bind(predicted.bound.binds)}. "
        f"The verifier says: {proved}. ",
        Ref("timeline"),
        " shows the steady state.",
    )
    yield FigureBlock(key="timeline", caption="One steady step, stream by stream.", wide=True)
    yield from files_offered((TRACE,))
