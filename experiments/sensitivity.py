"""What a step depends on: elasticities, breakpoints of what binds, and figures of both.

    python -m experiments.sensitivity --model opt-175b --machine rtx-4090-24gb --vary link
    python -m experiments.sensitivity --model opt-13b --out runs/sensitivity \\
        --vary link --against host.dram_bytes_per_s
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.plots.sensitivity import step_contours, tornado
from analysis.report.commands.constants import Varied, constants_document
from analysis.report.wording import bind
from experiments.answer.trust import Trust
from experiments.case.sizes import show_seconds, show_times
from experiments.case.target import Target
from experiments.cli import Answer, finish, run
from experiments.folder.provenance import provenance
from experiments.folder.write import Number, Run, number_records, settings, write_run
from experiments.screen import headed, right, tracked, working
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict
from zo2sim.predict.regimes import Regime, regimes
from zo2sim.predict.sensitivity import LINK, Elasticity, elasticities, grid, value_of
from zo2sim.simulate.bounds import PLAIN_WORDS

_GRID = 9  # values of each axis of a contour figure


@dataclass(frozen=True, kw_only=True)
class Config(Target):
    """Elasticity of the step to every machine constant, and where what binds changes."""

    vary: str = LINK
    """Constant whose breakpoints are looked for: 'link' (all its rates) or a dotted key."""
    span: float = 16.0
    """Look from the constant's value divided by this to multiplied by it."""
    against: str | None = None
    """Second constant, for a contour figure of step times."""
    out: Path | None = None
    """Write a run's folder with records, figures and report, which experiments.report takes."""
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    if not 1.0 < config.span <= 1e4:
        raise ValueError(f"--span must be above 1 and at most 10000; got {config.span:g}")
    if config.against is not None and config.out is None:
        raise ValueError("--against draws a figure: say where to with --out")
    case = config.spec.case()
    prediction = predict(case)
    found = elasticities(case, each=lambda keys: tracked(keys, "constants", total=len(keys)))
    value = value_of(case.machine, config.vary)
    with working("looking for where what binds changes"):
        bands = regimes(case, config.vary, low=value / config.span, high=value * config.span)
    if config.out is not None:
        write_run(config.out, _folder(config, prediction, found, bands))
    answer = Answer(
        _content(config, prediction, found, bands), lambda: _print(config, prediction, found, bands)
    )
    return finish(answer, config.json)


def _folder(
    config: Config,
    prediction: Prediction,
    found: tuple[Elasticity, ...],
    bands: tuple[Regime, ...],
) -> Run:
    source, asked = provenance(seed=0, machines=[config.machine]), settings(config)
    figures = {"tornado": tornado(found, prediction.step_s)}
    case, against = prediction.case, config.against
    if against is not None:
        x, y = (_values(case, key, config.span) for key in (config.vary, against))
        with working(f"step times of {len(x) * len(y)} pairs"):
            figures["contours"] = step_contours(grid(case, config.vary, x, against, y))
    return Run(
        verb="sensitivity",
        config=asked,
        summary=_content(config, prediction, found, bands),
        provenance=source,
        records=number_records(asked, _numbers(prediction, found, bands), source="predicted"),
        figures=figures,
        document=constants_document(
            prediction,
            found,
            bands,
            varied=Varied(
                key=config.vary, show=lambda value: _shown(config.vary, value), against=against
            ),
            grounds=Trust.of(prediction).grounds,
            provenance=source,
        ),
    )


def _numbers(
    prediction: Prediction, found: tuple[Elasticity, ...], bands: tuple[Regime, ...]
) -> Iterator[Number]:
    yield {}, "step_s", prediction.step_s, "s"
    for row in found:
        of = {"constant": row.key}
        yield of, "elasticity", row.elasticity, "1"
        yield of, "step_at_low_s", row.low_s, "s"
        yield of, "step_at_high_s", row.high_s, "s"
    for band in bands:
        yield {"binding": band.binding}, "regime_from", band.low, "SI"
        yield {"binding": band.binding}, "regime_to", band.high, "SI"


def _values(case: Case, key: str, span: float) -> list[float]:
    value = value_of(case.machine, key)
    return [float(v) for v in np.geomspace(value / span, value * span, _GRID)]


def _content(
    config: Config,
    prediction: Prediction,
    found: tuple[Elasticity, ...],
    bands: tuple[Regime, ...],
) -> dict[str, Any]:
    return {
        "model": prediction.case.model.name,
        "machine": prediction.case.machine.name,
        "step_s": prediction.step_s,
        "binding_resource": prediction.bound.binds[0],
        "binds": list(prediction.bound.binds),
        "elasticities": [asdict(row) for row in found],
        "vary": config.vary,
        "regimes": [asdict(band) for band in bands],
    }


def _print(
    config: Config,
    prediction: Prediction,
    found: tuple[Elasticity, ...],
    bands: tuple[Regime, ...],
) -> None:
    console, case = Console(), prediction.case
    console.print(
        f"{escape(case.model.name)} on {escape(case.machine.name)}, {case.plan.policy}: step "
        f"{show_seconds(prediction.step_s)}, {bind(prediction.bound.binds)}"
    )
    console.print(_elasticity_table(found))
    console.print(_regime_table(config.vary, bands))


def _elasticity_table(found: tuple[Elasticity, ...]) -> Table:
    title = "1 % more of this changes the step by"
    figures = right("change", "value / 1.25", "value x 1.25", whole=True)
    table = headed("constant", *figures, title=title, gap=1)
    moving = [row for row in found if row.swing_s > 0.0]
    ends = show_times([end for row in moving for end in (row.low_s, row.high_s)])
    for row, low, high in zip(moving, ends[::2], ends[1::2], strict=True):
        table.add_row(row.key, f"{row.elasticity:+.3f} %", low, high)
    return table


def _regime_table(key: str, bands: tuple[Regime, ...]) -> Table:
    title = (
        f"what binds as {key} varies (its rate to the device)"
        if key == LINK
        else (f"what binds as {key} varies")
    )
    table = headed("from", "to", "binds", "bound of the step", title=title)
    for band in bands:
        bounds = f"{show_seconds(band.low_s)} to {show_seconds(band.high_s)}"
        label = PLAIN_WORDS.get(band.binding, band.binding)
        table.add_row(_shown(key, band.low), _shown(key, band.high), label, bounds)
    return table


def _shown(key: str, value: float) -> str:
    if key == LINK or key.endswith("bytes_per_s"):
        return f"{value / 1e9:.4g} GB/s"
    return f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(run(main, Config))
