"""The report on many workers: what a step takes, and where each way of using them ends."""

from collections.abc import Mapping, Sequence

from analysis.plots.scale import Curve
from analysis.plots.style import model_title
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
from analysis.report.wording import seconds
from zo2sim.predict.case import Case
from zo2sim.predict.ranks import INTERNET, LAN


def scale_document(
    case: Case,
    curves: Sequence[Curve],
    walls: Mapping[str, float],
    *,
    grounds: Grounds,
    provenance: Mapping[str, str],
) -> Document:
    """``grounds`` is what is behind the step of a worker alone. Figure: ``scale``."""
    return Document(
        title=f"Many workers: {model_title(case.model.name)} on {case.machine.name}",
        abstract=(_abstract(curves, walls),),
        sections=(
            Section("Steps", tuple(_steps(curves))),
            Section("Where it ends", (Paragraph(_ends(walls)), Paragraph(_assumed()))),
            trust_section({f"a worker alone on {case.machine.name}": grounds}),
        ),
        provenance=tuple(provenance.items()),
    )


def _abstract(curves: Sequence[Curve], walls: Mapping[str, float]) -> str:
    own = next(curve for curve in curves if curve.directions == "own")
    one = next(c for c in curves if (c.directions, c.network) == ("one", own.network))
    most, each = one.steps[-1], own.steps[-1]
    return (
        f"A worker alone takes {seconds(most.alone_s)} for a step. Over a {one.network}, "
        f"{most.workers} workers along one direction, each with its own data, take "
        f"{seconds(most.step_s)}; with a direction each, {seconds(each.step_s)}. {_ends(walls)}"
    )


def _ends(walls: Mapping[str, float]) -> str:
    said = " and ".join(f"{workers:.0f} workers ({noise})" for noise, workers in walls.items())
    return (
        f"From {said} on, replaying everybody's directions takes longer than the forwards. One "
        "direction with more data has no such wall."
    )


def _assumed() -> str:
    nets = " and ".join(f"{net.round_trip_s * 1e3:g} ms ({net.name})" for net in (LAN, INTERNET))
    return (
        f"Assumed: a message goes there and back in {nets}; the slowest of N workers takes "
        "1 + s sqrt(2 ln N) times the mean, where s is the spread of their steps."
    )


def _steps(curves: Sequence[Curve]) -> list[Block]:
    rows = tuple(
        (
            curve.label,
            str(step.workers),
            seconds(step.replay_s),
            seconds(step.straggle_s),
            seconds(step.exchange_s),
            seconds(step.step_s),
        )
        for curve in curves
        for step in curve.steps
    )
    return [
        Paragraph(Ref("scale"), " and ", Ref("steps"), " show the steps and their parts."),
        FigureBlock(key="scale", caption="Step over workers; dashed: LAN, dotted: the walls."),
        TableBlock(
            key="steps",
            caption="Of a step beyond the worker's own: replay of others' directions, the wait for "
            "the slowest worker, the exchange of losses.",
            header=("way", "workers", "replay", "wait", "exchange", "step"),
            rows=rows,
            wide=True,
        ),
    ]
