"""The report of one fine-tuning: what it learned, how fast, and under which settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from analysis.plots.style import series
from analysis.report.document import (
    Block,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.trust import measured_only, trust_section
from analysis.report.wording import (
    DASH,
    SPACE,
    counted,
    gib,
    number,
    percent,
    seconds,
    setting,
    signed_percent,
    span,
)


def finetuning_document(
    summary: Mapping[str, Any],
    *,
    plan: Mapping[str, Any],
    recipe: Mapping[str, Any],
    provenance: Mapping[str, str],
    has_timeline: bool,
    has_samples: bool = False,
) -> Document:
    """The report on a run's summary; figures ``learning``, ``timeline``, ``machine`` go with it."""
    sections = [
        Section("What was learned", (*_learned(summary),)),
        Section(
            "How it ran",
            (*_ran(summary, has_timeline=has_timeline), *_sampled(summary, shown=has_samples)),
        ),
        Section("Settings", (_settings(plan, recipe),)),
        _trust(summary),
    ]
    return Document(
        title=f"Fine-tuning {summary['model']} on {summary['task']}",
        abstract=(_abstract(summary),),
        sections=tuple(sections),
        provenance=tuple(provenance.items()),
    )


def _abstract(summary: Mapping[str, Any]) -> str:
    policy = series(summary["policy"]).title
    return " ".join(
        (
            f"{summary['steps']} zeroth-order steps with {policy} on the {summary['backend']} "
            f"backend. Held-out loss goes from {_shown(summary['held_out_loss_before'])} to "
            f"{_shown(summary['held_out_loss_after'])}.",
            *_accuracy(summary),
            *_compared(summary),
        )
    )


def _accuracy(summary: Mapping[str, Any]) -> Iterator[str]:
    before, after = summary["accuracy_before"], summary["accuracy_after"]
    if before is not None and after is not None:
        first, last = (_spread(summary, f"accuracy_{when}") for when in ("before", "after"))
        yield f"Held-out accuracy goes from {percent(before)}{first} to {percent(after)}{last}."


def _spread(summary: Mapping[str, Any], name: str) -> str:
    error = summary.get(f"{name}_standard_error")
    return "" if error is None else f" (standard error {percent(error)})"


def _compared(summary: Mapping[str, Any]) -> Iterator[str]:
    if summary["differs_in"] is None:
        return
    other = series(summary["compared_with"]).title
    if summary["differs_in"]:
        yield f"The same recipe with {other} differs in: {', '.join(summary['differs_in'])}."
    else:
        yield (
            f"The same recipe with {other} gave the same bits: every loss, every projected "
            "gradient, every evaluation and every weight."
        )


def _learned(summary: Mapping[str, Any]) -> Iterator[Block]:
    yield Paragraph(
        f"The training loss, averaged over a tenth of the steps, is "
        f"{_shown(summary['training_loss_early'])} at the beginning and "
        f"{_shown(summary['training_loss_late'])} at the end (",
        Ref("learning"),
        ").",
    )
    if summary["skipped_steps"]:
        skipped = counted(summary["skipped_steps"], "step")
        yield Paragraph(f"Skipped because a loss was not finite: {skipped}.")
    yield FigureBlock(
        key="learning",
        caption="Training loss, and loss and accuracy on held-out examples, over the steps.",
    )
    for note in ("trouble", "worse", "swallowed_note"):
        if summary.get(note) is not None:
            yield Paragraph(_sentence(summary[note]))


def _ran(summary: Mapping[str, Any], *, has_timeline: bool) -> Iterator[Block]:
    conforms = "the schedule that was simulated, operation by operation"
    verdict = (
        f"What was executed is {conforms}."
        if summary["executed_as_scheduled"]
        else f"What was executed is not {conforms}: {summary['divergence']}."
    )
    yield Paragraph(
        f"A step takes {_shown(summary['step_s'], seconds)} in the median{_threads(summary)}, "
        f"{_shown(summary['tokens_per_s'])} tokens per second; in "
        f"{_shown(summary['exposed_share'], percent)} of the time the device does not "
        f"compute. The runtime's own device buffers take {gib(summary['device_bytes'])}. "
        f"{verdict}",
    )
    if summary.get("predicted") is not None:
        yield Paragraph(_predicted(summary))
    if has_timeline:
        yield FigureBlock(
            key="timeline", caption="One step as it ran, and a part of it.", wide=True
        )


def _threads(summary: Mapping[str, Any]) -> str:
    host = summary["backend"] == "host"
    return f" on {counted(summary['threads'], 'thread')}" if host else ""


def _predicted(summary: Mapping[str, Any]) -> str:
    """The prediction beside the measurement, and its band."""
    found, measured_s = summary["predicted"], summary["step_s"]
    off, ends = "", span(found["low_s"], found["high_s"], seconds)
    if not found["comparable"]:
        off = (
            f"; that is for {counted(found['threads'], 'thread')}, and the run had "
            f"{summary['threads']}, so the two are not comparable"
        )
    elif measured_s is not None:
        inside = found["low_s"] <= measured_s <= found["high_s"]
        off = (
            f", {signed_percent(found['step_s'] / measured_s - 1.0)} from what was measured, "
            f"which lies {'in' if inside else 'outside'} the band"
        )
    return (
        f"On {found['machine']} the step was predicted to take {seconds(found['step_s'])}, with a "
        f"90{SPACE}% band of {ends}{off}."
    )


def _trust(summary: Mapping[str, Any]) -> Section:
    """Of the predicted step; where nothing was predicted, that all was measured."""
    found = summary.get("predicted")
    if found is None:
        measured = f"measured, {summary['backend']} backend"
        return trust_section({"this run": measured_only(sources=measured)})
    band = f"{span(found['low_s'], found['high_s'], seconds)} per step"
    return trust_section({found["machine"]: {"band": band, **found}})


def _sampled(summary: Mapping[str, Any], *, shown: bool) -> Iterator[Block]:
    """What the machine did, where it was sampled."""
    if not shown:
        return
    held = _shown(summary["host_rss_bytes"], gib)
    energy = summary["energy_per_step_j"]
    words = "" if energy is None else f" A step takes {number(energy)}{SPACE}J in the median."
    missing = "".join(f" Not sampled: {note}." for note in summary["sampling_notes"])
    yield Paragraph(
        f"The process held {held} at most (",
        Ref("machine"),
        f").{words}{missing}",
    )
    yield FigureBlock(
        key="machine",
        caption="What the machine did while the run went on, evaluations included.",
    )


def _settings(plan: Mapping[str, Any], recipe: Mapping[str, Any]) -> TableBlock:
    rows = [(name.replace("_", " "), setting(value)) for name, value in {**plan, **recipe}.items()]
    return TableBlock(
        key="settings",
        caption="The plan, which fixes where and when, and the recipe, which fixes the bits.",
        header=("setting", "value"),
        rows=tuple(rows),
    )


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _shown(value: float | None, show: Any = number) -> str:
    return DASH if value is None else show(value).replace(" ", SPACE)
