"""The report on what narrow formats of a frozen base cost in accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.plots.accuracy import Judged
from analysis.report.document import Document, FigureBlock, Paragraph, Ref, Section, TableBlock
from analysis.report.trust import Grounds, measured_only, trust_section
from analysis.report.wording import DASH, counted, listed, percent


def accuracy_document(
    judged: Sequence[Judged], found: Mapping[str, Any], *, provenance: Mapping[str, str]
) -> Document:
    """Figure: ``accuracies``. ``found`` is what ``--json`` prints."""
    formats = list(dict.fromkeys(one.dtype for one in judged))
    words = listed([_words(one, found["dense"]) for one in found["differences"]])
    return Document(
        title="Fine-tuning beside a base in narrow formats",
        abstract=(f"After training, {words}.",),
        sections=(
            Section("Held-out accuracy", (_task(found), _table(judged, formats), _figure())),
            trust_section({"these runs": _grounds(judged)}),
        ),
        provenance=tuple(provenance.items()),
    )


def _grounds(judged: Sequence[Judged]) -> Grounds:
    """Nothing is predicted; what was judged was never trained on."""
    seeds = counted(len({one.seed for one in judged}), "seed")
    return measured_only(hold_out_error=f"paired differences over {seeds}", sources="measured")


def _words(one: Mapping[str, Any], dense: str) -> str:
    error = one["standard_error"]
    beside = "" if error is None else f" (standard error {100 * error:.1f})"
    return f"{one['dtype']} is {100 * one['mean']:+.1f} points{beside} from {dense}"


def _task(found: Mapping[str, Any]) -> Paragraph:
    return Paragraph(
        f"The task is to tell from a paragraph of documentation which of "
        f"{counted(len(found['packages']), 'package')} it is from: {listed(found['packages'])}. "
        f"{counted(found['held_out'], 'paragraph')} from modules that no training text comes from "
        f"are judged; guessing is right in {percent(found['chance'])}. Runs of one seed differ in "
        "the format of the base alone, and differences are paired by seed. ",
        Ref("runs"),
        " and ",
        Ref("accuracies"),
        " show every run.",
    )


def _table(judged: Sequence[Judged], formats: Sequence[str]) -> TableBlock:
    known = {(one.seed, one.dtype): one for one in judged}
    seeds = sorted({one.seed for one in judged})
    rows = tuple(
        (str(seed), *(_cell(known.get((seed, dtype))) for dtype in formats)) for seed in seeds
    )
    return TableBlock(
        key="runs",
        caption="Accuracy before and after training, by seed and format of the base.",
        header=("seed", *formats),
        rows=rows,
    )


def _cell(one: Judged | None) -> str:
    return DASH if one is None else f"{percent(one.before)} to {percent(one.after)}"


def _figure() -> FigureBlock:
    return FigureBlock(
        key="accuracies",
        caption="Every run: open before, filled after training; a format's line is its mean.",
    )
