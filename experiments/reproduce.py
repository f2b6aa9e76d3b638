"""Every published claim beside what is predicted for it: error, agrees or disagrees, and why.

python -m experiments.reproduce [--check] [--json FILE|-] [--figure FILE.svg] [--out DIR]
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from analysis.claims.reproduction import reproduce
from analysis.claims.row import Row
from analysis.plots.claims import claims
from analysis.plots.style import svg_text
from analysis.report.commands.claims import claims_document, context_notes
from analysis.scores.score import Score
from analysis.scores.summary import Summary, all_scores, summaries
from analysis.scores.summary import complaints as score_complaints
from analysis.scores.times import time_scores, unscored
from experiments.cli import Answer, finish, run, write_file
from experiments.folder.provenance import provenance
from experiments.folder.write import Number, Run, number_records, settings, write_run
from experiments.screen import working

COMMAND = "python -m experiments.reproduce"
_WIDTH = 80
_LABEL = 36
GPUS = (
    "Measured by others on real GPUs, beside predictions that owe nothing to the source of the "
    "measurement: errors are relative, bands those of 90 %."
)
_MARKS = {"fitted": "*", "used": "+"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Published claims against predictions. Exit code 3: --check found one that is unexplained."""

    check: bool = False
    """Exit with 3 where a claim neither agrees nor says why it does not."""
    figure: Path | None = None
    """Draw predictions over publications into this SVG file."""
    out: Path | None = None
    """Write a run's folder with records, figure and report, which experiments.report takes."""
    json: str | None = None
    """Write the rows as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    """Exit code: 0 done, 3 the check failed."""
    with working("predicting every published claim"):
        rows = reproduce()
    if config.figure is not None:
        write_file(config.figure, svg_text(claims(rows)).encode())
    if config.out is not None:
        write_run(config.out, _folder(config, rows))
    answer = Answer(
        document(rows),
        lambda: print(text(rows)),
        complaints=_complaints(rows) if config.check else (),
    )
    return finish(answer, config.json)


def _complaints(rows: Sequence[Row]) -> list[str]:
    unexplained = [f"{row.claim} {row.item}" for row in rows if not row.settled]
    return [
        *(f"{name}: disagrees, and nothing says why" for name in unexplained),
        *score_complaints(summaries()),
    ]


def _folder(config: Config, rows: Sequence[Row]) -> Run:
    source, asked = provenance(seed=0, machines=()), settings(config)
    return Run(
        verb="reproduce",
        config=asked,
        summary={k: v for k, v in document(rows).items() if k != "command"},
        provenance=source,
        records=number_records(asked, _numbers(rows), source="predicted beside published values"),
        figures={"claims": claims(rows)},
        document=claims_document(rows, provenance=source),
    )


def _numbers(rows: Sequence[Row]) -> Iterator[Number]:
    for row in rows:
        of = {"claim": row.claim, "item": row.item, "low": row.low, "high": row.high}
        yield of, "predicted", row.predicted, row.unit
        yield of | {"low": None, "high": None}, "published", row.published, row.unit


def document(rows: Sequence[Row]) -> dict[str, object]:
    """The machine-readable result."""
    return {
        "command": COMMAND,
        "agree": sum(row.agrees for row in rows),
        "agree_but_fitted": sum(row.agrees and row.context == "fitted" for row in rows),
        "disagree": sum(not row.agrees for row in rows),
        "unexplained": sum(not row.settled for row in rows),
        "claims": [row.record for row in rows],
        "gpus": {
            "summaries": [asdict(found) for found in summaries()],
            "scores": [score.record for score in all_scores()],
            "unscored": unscored(),
        },
    }


def text(rows: Sequence[Row]) -> str:
    """A block per claim, for 80 columns."""
    lines = [f"{'':{_LABEL}}{'published':>10}{'predicted':>11}{'error':>8}  verdict"]
    for claim, of_claim in groupby(rows, key=lambda row: row.claim):
        group = list(of_claim)
        lines += ["", *textwrap.wrap(f"{claim}: {group[0].source}", _WIDTH)]
        for row in group:
            lines += _lines(row)
    lines += ["", *textwrap.wrap(_verdict(rows), _WIDTH), "", *_footnotes(rows)]
    return "\n".join((*lines, "", *_gpus()))


def _gpus() -> Iterator[str]:
    """Predictions beside what others measured on GPUs: kinds, then every time."""
    yield from textwrap.wrap(GPUS, _WIDTH)
    yield ""
    yield f"{'':10}{'n':>5}{'median':>9}{'90th':>8}{'signed':>9}{'bands hold':>12}{'width':>8}"
    yield from map(_summary_line, summaries())
    yield ""
    yield f"{'':{_LABEL}}{'measured':>10}{'predicted':>11}{'error':>8}  in band"
    for score in time_scores():
        yield from _score_lines(score)
    for name, why in unscored().items():
        yield from textwrap.wrap(f"{name}: not predicted: {why}", _WIDTH, subsequent_indent="  ")


def _summary_line(found: Summary) -> str:
    return (
        f"{found.kind:10}{found.count:5}{found.median:9.1%}{found.p90:8.1%}{found.signed:+9.1%}"
        f"{found.held:12.0%}{found.width:8.0%}"
    )


def _score_lines(score: Score) -> Iterator[str]:
    guess = score.left_out
    label = f"  {score.name} ({score.unit})"
    figures = f"{_number(score.measured):>10}{_number(guess.value):>11}{_percent(score.error):>8}"
    yield f"{label:{_LABEL}}{figures}  {'yes' if score.held else 'no'}"
    if not score.held:
        yield f"      band: {_number(guess.low)} to {_number(guess.high)}"


def _verdict(rows: Sequence[Row]) -> str:
    agree = sum(row.agrees for row in rows)
    disagree = len(rows) - agree
    unexplained = sum(not row.settled for row in rows)
    fitted = sum(row.agrees and row.context == "fitted" for row in rows)
    return (
        f"{len(rows)} values of {len({row.claim for row in rows})} claims: {agree} agree "
        f"({fitted} of them helped to fit the constant that they share), "
        f"{disagree} disagree, {unexplained} of these unexplained."
    )


def _footnotes(rows: Sequence[Row]) -> Iterator[str]:
    """What the marks mean."""
    for mark, words in zip(_MARKS.values(), context_notes(rows), strict=True):
        yield from textwrap.wrap(words, _WIDTH, initial_indent=f"{mark} ", subsequent_indent="  ")


def _lines(row: Row) -> Iterator[str]:
    verdict = "agrees" if row.agrees else "disagrees"
    label = f"  {row.item} ({row.unit})"
    figures = f"{_number(row.published):>10}{_number(row.predicted):>11}{_error(row):>8}"
    yield f"{label:{_LABEL}}{figures}  {verdict}{_MARKS.get(row.context, '')}"
    if row.left_out is not None and row.left_out_error is not None:
        left_out = f"{_number(row.left_out):>11}{_percent(row.left_out_error):>8}"
        yield f"{'      left out of the fit':{_LABEL + 10}}{left_out}"
    if row.low is not None and row.high is not None:
        span = row.high / row.low
        yield f"      plausible setups: {_number(row.low)} to {_number(row.high)} ({span:.1f}x)"
    yield from textwrap.wrap(
        row.why, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )


def _error(row: Row) -> str:
    """Of what fits or does not, the word."""
    if row.relative_error is None:
        return "fits" if row.agrees else "no fit"
    return _percent(row.relative_error)


def _percent(error: float) -> str:
    return "0.0%" if abs(error) < 0.0005 else f"{error:+.1%}"


def _number(value: float) -> str:
    """As many digits as publications print; three of what is small, as errors tell them apart."""
    return f"{value:.{3 if value < 1 else 2 if value < 100 else 1}f}"


if __name__ == "__main__":
    sys.exit(run(main, Config))
