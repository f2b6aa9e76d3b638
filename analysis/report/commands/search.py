"""The report of a search: the best plan, the proof, and what buys what."""

from collections.abc import Mapping, Sequence

from analysis.plots.style import model_title
from analysis.report.document import (
    TRACE,
    Block,
    Code,
    Document,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.plain import files_offered
from analysis.report.trust import Grounds, trust_section
from analysis.report.wording import SPACE, gib, number, percent, seconds
from zo2sim.search.search import Found, Search


def search_document(
    answer: Search,
    *,
    plans: Sequence[str],
    axes: Mapping[str, str],
    grounds: Grounds,
    provenance: Mapping[str, str],
) -> Document:
    """``plans`` says each point of the front as flags, in its order; ``axes`` what was varied;
    ``grounds`` what is behind the prediction of the best plan.

    Figures: `analysis.plots.front.front` as ``front``, the best plan's steady step as ``timeline``.
    """
    case = answer.best.case
    name = f"{model_title(case.model.name)} on {case.machine.name}"
    return Document(
        title=f"The best plan for {name}",
        abstract=(_found(answer),),
        sections=(
            Section("The best plan", tuple(_best(answer, plans))),
            Section("What buys what", tuple(_front(answer, plans))),
            Section("What was searched", _axes(axes)),
            trust_section({case.machine.name: grounds}),
        ),
        provenance=tuple(provenance.items()),
    )


def _found(answer: Search) -> str:
    best = answer.best
    proof = "and no plan of the space is faster"
    if answer.gap >= 5e-4:
        proof = f"at most {percent(answer.gap)} above what any plan of the space can reach"
    return (
        f"Of {number(answer.plans_evaluated)} plans, {number(answer.plans_fitting)} of which fit, "
        f"the best takes {seconds(best.step_s)} per step, {number(best.tokens_per_s)} tokens per "
        f"second, with {gib(best.device_bytes)} of device and {gib(best.host_bytes)} of host "
        f"memory, {proof}."
    )


def _best(answer: Search, plans: Sequence[str]) -> list[Block]:
    best = answer.pareto.index(answer.best)
    words = (
        f" Every plan has a lower bound; {answer.plans_walked} were looked at more closely "
        f"and {answer.plans_simulated} simulated, until nothing that was left could be "
        f"better. The proven bound of a step is {seconds(answer.lower_bound_s)}."
    )
    step = FigureBlock(key="timeline", caption="The best plan's steady step.", wide=True)
    return [
        Paragraph(Code(plans[best]), ".", words),
        Paragraph(Ref("timeline"), " shows its steady step."),
        step,
        *files_offered((TRACE,)),
    ]


def _front(answer: Search, plans: Sequence[str]) -> list[Block]:
    table = TableBlock(
        key="points",
        caption="Plans that no other one beats in speed and in both memories, from the fastest to "
        "the smallest. A mark: its speed is only bounded.",
        header=("plan", "tokens/s", "device GiB", "host GiB"),
        rows=tuple(_point(f, plan) for f, plan in zip(answer.pareto, plans, strict=True)),
        wide=True,
    )
    figure = FigureBlock(
        key="front",
        caption="Speed against device memory, by host memory. Hollow: the speed is only bounded.",
    )
    return [Paragraph(Ref("front"), " and ", Ref("points"), " show them."), figure, table]


def _point(found: Found, plan: str) -> tuple[str, ...]:
    mark = "" if found.simulated else f"\u2264{SPACE}"
    gibs = (number(nbytes / (1 << 30)) for nbytes in (found.device_bytes, found.host_bytes))
    return (plan.replace("--", ""), f"{mark}{number(found.tokens_per_s)}", *gibs)


def _axes(axes: Mapping[str, str]) -> tuple[Block, ...]:
    table = TableBlock(
        key="axes",
        caption="Axes of the space and their values.",
        header=("axis", "values"),
        rows=tuple(
            (name.replace("_", " "), values.replace(",", ", ")) for name, values in axes.items()
        ),
        wide=True,
    )
    return (Paragraph(Ref("axes"), " lists what was varied; all else stayed as given."), table)
