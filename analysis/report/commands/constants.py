"""The report on what one step depends on: constants of the machine, and what binds when."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.plots.sensitivity import axis_label
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
from analysis.report.wording import BINDING_NAMES, SPACE, bind, number, seconds, signed
from zo2sim.predict.predict import Prediction
from zo2sim.predict.regimes import Regime
from zo2sim.predict.sensitivity import LINK, Elasticity

_LEAST = 1e-3  # swing, as a share of the step, from which a constant is listed


@dataclass(frozen=True, kw_only=True)
class Varied:
    """The constant ``key`` whose breakpoints were looked for, and how to say its values.

    ``against`` is the second constant of the contour figure, if there is one.
    """

    key: str
    show: Callable[[float], str]
    against: str | None = None


def constants_document(
    prediction: Prediction,
    found: Sequence[Elasticity],
    bands: Sequence[Regime],
    *,
    varied: Varied,
    grounds: Grounds,
    provenance: Mapping[str, str],
) -> Document:
    """``grounds`` is what is behind the prediction.

    Figures: ``tornado``, and ``contours`` where another constant was varied, too.
    """
    case = prediction.case
    name = f"{model_title(case.model.name)} on {case.machine.name}"
    sections = [
        Section("Constants of the machine", tuple(_constants(found))),
        Section("What binds", tuple(_regimes(bands, varied))),
    ]
    if varied.against is not None:
        sections.append(Section("Two constants", tuple(_contours(varied.key, varied.against))))
    sections.append(trust_section({case.machine.name: grounds}))
    return Document(
        title=f"What a step of {name} depends on",
        abstract=(_abstract(prediction, found, bands, varied),),
        sections=tuple(sections),
        provenance=tuple(provenance.items()),
    )


def _abstract(
    prediction: Prediction,
    found: Sequence[Elasticity],
    bands: Sequence[Regime],
    varied: Varied,
) -> str:
    most = found[0]
    changes = "; ".join(
        f"beyond {varied.show(band.low)} {_name(band.binding)} binds" for band in bands[1:]
    )
    tail = f" As {_constant(varied.key)} grows, {changes}." if changes else ""
    return (
        f"A step takes {seconds(prediction.step_s)}, and {bind(prediction.bound.binds)}. "
        f"It depends most on {axis_label(most.key)}: 1{SPACE}% more of it changes the step by "
        f"{signed(most.elasticity, 2)}{SPACE}%.{tail}"
    )


def _constants(found: Sequence[Elasticity]) -> list[Block]:
    rows = tuple(
        (axis_label(e.key), signed(e.elasticity, 3), seconds(e.low_s), seconds(e.high_s))
        for e in found
        if e.swing_s >= _LEAST * e.low_s
    )
    return [
        Paragraph(
            Ref("tornado"),
            " shows the constants that move the step, ",
            Ref("moves"),
            " by how much.",
        ),
        FigureBlock(
            key="tornado",
            caption="Step time with each constant divided and multiplied by 1.25.",
            wide=True,
        ),
        TableBlock(
            key="moves",
            caption="Relative change of the step over that of each constant, and the swing; left "
            "out: what moves it by less than a thousandth.",
            header=("constant", "elasticity", "\u00f7 1.25", "\u00d7 1.25"),
            rows=rows,
            wide=True,
        ),
    ]


def _regimes(bands: Sequence[Regime], varied: Varied) -> list[Block]:
    rows = tuple(
        (
            _name(band.binding),
            varied.show(band.low),
            varied.show(band.high),
            f"{number(band.low_s)} to {number(band.high_s)}{SPACE}s",
        )
        for band in bands
    )
    return [
        Paragraph(f"As {_constant(varied.key)} varies, ", Ref("regimes"), " says what binds."),
        TableBlock(
            key="regimes",
            caption="What binds, between two values, and the bound of the step there.",
            header=("binds", "from", "to", "bound"),
            rows=rows,
        ),
    ]


def _contours(vary: str, against: str) -> list[Block]:
    return [
        Paragraph(Ref("contours"), f" varies {_constant(vary)} and {_constant(against)}."),
        FigureBlock(key="contours", caption="Step time over two constants."),
    ]


def _constant(key: str) -> str:
    return "the link, all of its rates together," if key == LINK else axis_label(key)


def _name(binding: str) -> str:
    return BINDING_NAMES.get(binding, binding)
