"""From how many sequences per step on streaming is hidden: by bisection, link by link."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

import pandas as pd

from analysis.plots.sweep.break_even import LINKS_GB_PER_S
from experiments.case.spec import LINK_SCALE, Spec
from experiments.jobs.job import Job
from zo2sim.machines.file import resolve
from zo2sim.plan.choices import Plan, Policy
from zo2sim.predict.predict import predict

SHARES = (0.5, 0.9, 0.99)
"""Of the resident model's throughput."""
MOST = 64
"""Sequences per step, beyond which nobody looks."""


def needed(jobs: Sequence[Job]) -> pd.DataFrame | None:
    """Columns link, bytes_per_s, share and tokens per step, which is NaN where none is enough.

    None where the question was not asked as the preset asks it, of one model on one machine.
    """
    asked = [job.spec for job in jobs if (job.question, job.label) == ("break_even", "zo2")]
    if len({(spec.model, spec.machine) for spec in asked}) != 1:
        return None
    alone = replace(asked[0], plan=Plan(policy=Policy.RESIDENT), changes=())
    alone_s = cache(partial(_step_s, alone))  # whatever the link
    rows = [
        {"link": link, "bytes_per_s": rate * 1e9, "share": share, "tokens": tokens}
        for link, rate in LINKS_GB_PER_S.items()
        for share, tokens in _tokens(asked[0], rate * 1e9, alone_s)
    ]
    return pd.DataFrame(rows)


def _tokens(
    spec: Spec, bytes_per_s: float, alone_s: Callable[[int], float]
) -> list[tuple[float, float]]:
    """Of each share, the fewest tokens per step that reach it."""
    own = resolve(spec.machine).link.h2d_bytes_per_s.value
    changes = ((LINK_SCALE, bytes_per_s / own),)

    @cache
    def ratio(sequences: int) -> float:
        return alone_s(sequences) / _step_s(replace(spec, changes=changes), sequences)

    each = spec.recipe.batch * spec.recipe.sequence
    return [(s, each * first(lambda n, s=s: ratio(n) >= s, MOST)) for s in SHARES]


def _step_s(spec: Spec, sequences: int) -> float:
    recipe = replace(spec.recipe, microbatches=sequences)
    return predict(replace(spec, recipe=recipe).case()).step_s


def first(enough: Callable[[int], bool], most: int) -> float:
    """The least number from 1 to ``most`` that is enough, where all above it are; else NaN."""
    numbers = range(1, most + 1)
    return numbers[bisect_left(numbers, True, key=enough)] if enough(most) else float("nan")
