"""The report of a validation: predictions beside real steps, how far off they are, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

import numpy as np

from analysis.report.commands.memory import memory_section
from analysis.report.document import (
    Block,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.trust import Grounds, trust_section
from analysis.report.wording import SPACE, counted, listed, percent, seconds, signed_percent, span
from analysis.validation.op_errors import OpError, suspects
from analysis.validation.peak_memory import MemoryScores
from analysis.validation.promise import Promise, promises
from analysis.validation.scores import TITLES, Comparison, Scores, coverage_interval

DRAWN = ("worst", "median", "best")
"""Configurations whose steps are drawn; the figures are called ``timelines-worst`` and so on."""
_MOST_OPERATIONS = 12


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a validation found.

    ``settings`` says what sets each configuration apart; ``grounds`` what is behind the
    predictions, its errors being those found here; ``remarks`` holds what else must be said,
    such as a schedule that was not kept.
    """

    scores: Scores
    operations: Sequence[OpError]
    settings: Mapping[str, Mapping[str, str]]
    grounds: Grounds
    remarks: Sequence[str] = ()
    has_residuals: bool = False
    memory: MemoryScores = field(default_factory=MemoryScores)
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """More columns of the error table: by heading, then by configuration."""


def validation_document(found: Findings, *, provenance: Mapping[str, str]) -> Document:
    """The report; its figures are ``validation``, ``timelines-*`` and ``residuals``."""
    sections = [
        Section("How it was measured", (*_method(found.scores),)),
        Section("Errors", (*_errors(found),)),
        Section("Steps beside each other", (*_timelines(found.scores),)),
        Section("What is wrong, and why", (*_split(found.scores), *_reasons(found))),
    ]
    if found.memory.measured:
        sections.append(memory_section(found.memory))
    if found.has_residuals:
        sections.append(Section("Residuals of calibration", (*_residuals(),)))
    sections.append(trust_section({"these steps": {**found.grounds, **_held_out(found.scores)}}))
    return Document(
        title="Predicted and measured steps of configurations that calibration never saw",
        abstract=(_abstract(found.scores),),
        sections=tuple(sections),
        provenance=tuple(provenance.items()),
    )


def drawn(scores: Scores) -> dict[str, Comparison]:
    """The configurations with the largest, the median and the smallest error."""
    ranked = scores.ranked
    chosen = (ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1])
    return dict(zip(DRAWN, chosen, strict=True))


def _abstract(scores: Scores) -> str:
    worst = scores.ranked[0]
    return (
        f"The step times of {counted(scores.n, 'configuration')} were predicted and then measured. "
        f"Predictions are off by {percent(scores.mape)} in the mean and by "
        f"{percent(scores.max_ape)} at most ({worst.name}), with a signed mean of "
        f"{signed_percent(scores.mpe)}{_repeated(scores)}. "
        f"The rules of the simulator alone are off by {percent(scores.rules_mape)}. "
        f"{percent(scores.coverage_90)} of the measurements lie in their 90{SPACE}% band."
    )


def _repeated(scores: Scores) -> str:
    """Nothing where each was measured in one turn, which tells nothing of others."""
    known = not isnan(scores.repeatability)
    return f"; measurements repeat within {percent(scores.repeatability)}" if known else ""


def _method(scores: Scores) -> Iterator[Block]:
    turns = counted(scores.comparisons[0].turns, "turn")
    beside = _beside_references(scores) if scores.has_references else ". "
    yield Paragraph(
        "Every step time was predicted before anything ran. Then each configuration was "
        f"measured in {turns}{beside}The measured step is the mean of the fastest third, "
        "which was disturbed least; the "
        f"median step took {percent(scores.disturbance)} longer. The repeatability is the "
        "standard error of that mean, by resampling turns. An error is how far a prediction "
        "lies above the measurement, relative to the measurement.",
    )


def _beside_references(scores: Scores) -> str:
    return (
        ", each beside a turn of two reference configurations: a large "
        "one that computes, and a small one that starts operations and copies. Its time is "
        "scaled by how fast the two ran around that turn, relative to when the machine was "
        "calibrated, each by its share in the step. Computing had drifted by "
        f"{signed_percent(scores.computing_drift)} and starting by "
        f"{signed_percent(scores.starting_drift)}, which changes the median step by "
        f"{signed_percent(scores.drift)}"
        f"{'' if scores.drift_notice is None else ', enough for another calibration'}. "
    )


def _errors(found: Findings) -> Iterator[Block]:
    scores = found.scores
    low, high = coverage_interval(scores.n)
    yield Paragraph(
        Ref("validation"),
        " sets predictions against measurements, ",
        Ref("scores"),
        " has the errors over all configurations, and ",
        Ref("errors"),
        f" each one. Were the bands exactly right, {percent(low)} to {percent(high)} of so few "
        f"configurations would lie in theirs, in 95{SPACE}% of all validations.",
    )
    yield FigureBlock(
        key="validation",
        caption="A dot per configuration, with its 90 % band; red where the measurement lies "
        "outside. Below: the error, with the 95 % interval of the measurement.",
    )
    yield TableBlock(
        key="scores",
        caption="Errors over all configurations, and what is promised. An error may exceed its "
        "limit by what the measurement itself scatters by; that is counted in.",
        header=("figure", "found", "promised", "kept"),
        rows=tuple(_promised(promise) for promise in promises(scores)),
    )
    yield _error_table(found)


def _promised(promise: Promise) -> tuple[str, ...]:
    show = signed_percent if promise.name == "mpe" else percent
    most = f"at most {percent(promise.most)}"
    if promise.least > 0.0:
        most = f"{percent(promise.least)} to {percent(promise.most)}"
    return TITLES[promise.name], show(promise.value), most, "yes" if promise.kept else "no"


def _error_table(found: Findings) -> TableBlock:
    headings = ("predicted", "measured", "error", "90 % band", "in it", "rules", "repeats")
    return TableBlock(
        key="errors",
        caption="Every configuration: predicted and measured step, error, band of the prediction, "
        "error of the rules alone, and standard error of the measurement.",
        header=("configuration", *headings, *found.extra),
        rows=tuple(
            (*_error_row(c), *(column.get(c.name, "") for column in found.extra.values()))
            for c in found.scores.comparisons
        ),
        wide=True,
    )


def _error_row(c: Comparison) -> tuple[str, ...]:
    return (
        c.name,
        seconds(c.predicted_s),
        seconds(c.step_s),
        signed_percent(c.error),
        span(c.low_s, c.high_s, seconds).replace(" ", SPACE),
        "yes" if c.covered else "no",
        signed_percent(c.rules_error),
        percent(c.standard_error),
    )


def _timelines(scores: Scores) -> Iterator[Block]:
    shown = drawn(scores)
    words = listed(f"the {which} ({signed_percent(c.error)})" for which, c in shown.items())
    yield Paragraph(
        "One step as predicted, and the measured one that comes closest to the step as stated, "
        f"of three configurations: {words}.",
    )
    for which, c in shown.items():
        caption = (
            f"The {which} prediction: {c.name}. {_split_words(c)} Shaded: a copy runs while "
            "compute waits."
        )
        yield FigureBlock(key=f"timelines-{which}", caption=caption, wide=True)


def _split_words(c: Comparison) -> str:
    return (
        f"Of its error of {signed_percent(c.error)}, {signed_percent(c.rules_error)} is that of "
        f"the rules and {signed_percent(c.cost_error)} that of the durations."
    )


def _split(scores: Scores) -> Iterator[Block]:
    larger = "durations" if scores.cost_mape > scores.rules_mape else "rules"
    yield Paragraph(
        "Measured durations, replayed through the simulator, give the error of its rules: "
        f"{percent(scores.rules_mape)} in the mean. What is left is that of the predicted "
        f"durations: {percent(scores.cost_mape)}. So the {larger} are what to improve.",
    )


def _reasons(found: Findings) -> Iterator[Block]:
    operations = sorted(found.operations, key=lambda e: -abs(e.effect_s))[:_MOST_OPERATIONS]
    yield Paragraph(
        Ref("by-setting"),
        " sorts the errors by setting; ",
        Ref("operations"),
        " has the operations that add most error to a step, were all of it exposed. ",
        *_suspects(found.operations),
    )
    yield TableBlock(
        key="by-setting",
        caption="Errors by setting: how many configurations, mean signed and absolute error.",
        header=("setting", "configurations", "signed", "absolute"),
        rows=tuple(_by_setting(found)),
        wide=True,
    )
    yield TableBlock(
        key="operations",
        caption="Operations that add most error: duration as predicted, for the machine as it had "
        "drifted meanwhile, and as measured; what the difference adds to a step, and the "
        "constant that most of the prediction rests on.",
        header=("operation", "configuration", "predicted", "measured", "per step", "rests on"),
        rows=tuple(_operation_row(error) for error in operations),
        wide=True,
    )
    for remark in found.remarks:
        yield Paragraph(remark)


def _suspects(operations: Sequence[OpError]) -> Iterator[str]:
    found = [suspect.sentence for suspect in suspects(operations)]
    if found:
        yield f"Constants that all of their operations blame: {'; '.join(found)}."
    else:
        yield "No constant is blamed by all of its operations."


def _by_setting(found: Findings) -> Iterator[tuple[str, ...]]:
    """Levels of every setting that varies, in the order of the configurations."""
    names = dict.fromkeys(name for own in found.settings.values() for name in own)
    for name in names:
        groups: dict[str, list[float]] = {}
        for c in found.scores.comparisons:
            level = found.settings.get(c.name, {}).get(name, "")
            groups.setdefault(level, []).append(c.error)
        for level, errors in groups.items() if len(groups) > 1 else ():
            signed, absolute = float(np.mean(errors)), float(np.abs(errors).mean())
            yield f"{name}: {level}", str(len(errors)), signed_percent(signed), percent(absolute)


def _operation_row(error: OpError) -> tuple[str, ...]:
    sign = "+" if error.effect_s > 0.0 else "\u2212"
    return (
        error.op,
        error.configuration,
        seconds(error.predicted_s),
        seconds(error.measured_s),
        f"{sign}{seconds(abs(error.effect_s))}",
        error.constant,
    )


def _held_out(scores: Scores) -> dict[str, str]:
    """What this validation is: the band's and the hold-out error's own words."""
    return {
        "band": f"{percent(scores.coverage_90)} of {scores.n} measurements lie in theirs",
        "hold_out_error": f"{percent(scores.mape)} mean, {percent(scores.max_ape)} worst, "
        f"{signed_percent(scores.mpe)} signed (n = {scores.n}, this report)",
    }


def _residuals() -> Iterator[Block]:
    yield Paragraph(
        "The constants were fitted to micro-benchmarks and short runs, none of which is among "
        "the configurations above. ",
        Ref("residuals"),
        " shows how far each of those measurements is from the fitted law.",
    )
    yield FigureBlock(
        key="residuals",
        caption="Measurements of calibration above what was fitted, by group.",
        wide=True,
    )
