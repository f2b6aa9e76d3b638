"""What is promised of the scores of each kind, and whether it holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import get_args

import numpy as np

from analysis.scores.constants import constant_scores
from analysis.scores.score import Kind, Score
from analysis.scores.times import time_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Errors of scores with their own source left out: shares."""

    kind: str
    count: int
    median: float
    p90: float
    signed: float
    held: float
    width: float

    @classmethod
    def of(cls, kind: str, scores: Sequence[Score]) -> "Summary":
        errors = [score.error for score in scores]
        return cls(
            kind=kind,
            count=len(scores),
            median=median(map(abs, errors)),
            p90=float(np.quantile(np.abs(errors), 0.9)),
            signed=median(errors),
            held=sum(score.held for score in scores) / len(scores),
            width=median(score.width for score in scores),
        )


PROMISED = Summary(
    kind="promised", count=0, median=0.12, p90=0.30, signed=0.05, held=0.80, width=0.60
)
"""No more than these errors and width; of the bands at least that share holds, and at most
`MOST_HELD`: a band that always holds says too little."""
MOST_HELD = 0.97


ALL, TIMES = "all", "all times"


@cache
def all_scores() -> tuple[Score, ...]:
    """Every measurement that is scored."""
    return (*constant_scores(), *time_scores())


def summaries() -> tuple[Summary, ...]:
    """By kind, of all times, and of all."""
    return (
        *_by_kind(all_scores()),
        Summary.of(TIMES, time_scores()),
        Summary.of(ALL, all_scores()),
    )


def _by_kind(scores: Sequence[Score]) -> Iterator[Summary]:
    for kind in get_args(Kind):
        own = [score for score in scores if score.kind == kind]
        if own:
            yield Summary.of(kind, own)


def complaints(found: Sequence[Summary]) -> list[str]:
    """What of the promise does not hold, of all scores and of the times among them."""
    return [line for own in found if own.kind in (ALL, TIMES) for line in _broken(own)]


def _broken(own: Summary) -> list[str]:
    limits = (
        ("median error", own.median, PROMISED.median),
        ("90th percentile of errors", own.p90, PROMISED.p90),
        ("signed median", abs(own.signed), PROMISED.signed),
        ("median width of bands", own.width, PROMISED.width),
        ("share of bands that hold", own.held, MOST_HELD),
    )
    wrong = [
        f"{own.kind} of GPUs: {name} must be at most {limit:.0%}; it is {value:.1%}"
        for name, value, limit in limits
        if value > limit
    ]
    if own.held < PROMISED.held:
        wrong.append(
            f"{own.kind} of GPUs: bands must hold {PROMISED.held:.0%}; they hold {own.held:.1%}"
        )
    return wrong
