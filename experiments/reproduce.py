"""Every published claim beside what is predicted for it: error, agrees or disagrees, and why.

python -m experiments.reproduce [--check] [--json FILE|-] [--figure FILE.svg] [--out DIR]
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from analysis.claims.reproduction import reproduce
from analysis.claims.row import Row
from analysis.plots.claims import claims
from analysis.report.claims import claims_document
from analysis.style import svg_text
from experiments.answered import Number, records, settings
from experiments.cli import DONE, NO, run, write_file, write_json
from experiments.folder import Run, write_run
from experiments.identity import provenance

COMMAND = "python -m experiments.reproduce"
_WIDTH = 80
_LABEL = 36


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
    rows = reproduce()
    if config.json != "-":
        print(text(rows))
    if config.json is not None:
        write_json(config.json, document(rows))
    if config.figure is not None:
        write_file(config.figure, svg_text(claims(rows)).encode())
    if config.out is not None:
        write_run(config.out, _folder(config, rows))
    unexplained = [row for row in rows if not row.settled]
    if not config.check:
        return DONE
    for row in unexplained:
        print(f"error: {row.claim} {row.item}: disagrees, and nothing says why", file=sys.stderr)
    return NO if unexplained else DONE


def _folder(config: Config, rows: Sequence[Row]) -> Run:
    source, asked = provenance(seed=0, machines=()), settings(config)
    return Run(
        verb="reproduce",
        config=asked,
        summary={k: v for k, v in document(rows).items() if k != "command"},
        provenance=source,
        records=records(asked, _numbers(rows), source="predicted beside published values"),
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
        "disagree": sum(not row.agrees for row in rows),
        "unexplained": sum(not row.settled for row in rows),
        "claims": [row.record for row in rows],
    }


def text(rows: Sequence[Row]) -> str:
    """A block per claim, for 80 columns."""
    lines = [f"{'':{_LABEL}}{'published':>10}{'predicted':>11}{'error':>8}  verdict"]
    for claim, of_claim in groupby(rows, key=lambda row: row.claim):
        group = list(of_claim)
        lines += ["", *textwrap.wrap(f"{claim}: {group[0].source}", _WIDTH)]
        for row in group:
            lines += _lines(row)
    agree = sum(row.agrees for row in rows)
    disagree = len(rows) - agree
    unexplained = sum(not row.settled for row in rows)
    lines += [
        "",
        f"{len(rows)} values of {len({row.claim for row in rows})} claims: {agree} agree, "
        f"{disagree} disagree, {unexplained} of these unexplained.",
    ]
    return "\n".join(lines)


def _lines(row: Row) -> Iterator[str]:
    verdict = "agrees" if row.agrees else "disagrees"
    label = f"  {row.item} ({row.unit})"
    figures = f"{_number(row.published):>10}{_number(row.predicted):>11}"
    yield f"{label:{_LABEL}}{figures}{row.relative_error:>+8.1%}  {verdict}"
    if row.low is not None and row.high is not None:
        span = row.high / row.low
        yield f"      plausible setups: {_number(row.low)} to {_number(row.high)} ({span:.1f}x)"
    yield from textwrap.wrap(
        row.why, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )


def _number(value: float) -> str:
    """As many digits as publications print."""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(run(main, Config))
