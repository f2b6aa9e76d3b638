"""Sections on what the predictions depend on: features, link and tokens, both-ways traffic."""

from analysis.plots.style import model_title
from analysis.plots.sweep.ablation import slowdowns
from analysis.report.document import Block, FigureBlock, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import SPACE, between, listed, number, percent, seconds
from analysis.table import Table, by_label, floats, has, of_question, unique, where


def ablation_section(table: Table) -> Section | None:
    """What each feature is worth."""
    if not has(table, "ablation"):
        return None
    slow = slowdowns(table)
    parts = [
        f"{label}: {between(s.value for s in slow if s.label == label)}"
        for label in dict.fromkeys(s.label for s in slow)
    ]
    words = (
        " takes one choice back at a time. The step then takes this multiple of full ZO2's, over "
        f"the models shown: {'; '.join(parts)}."
    )
    caption = "Predicted step time with one choice taken back, relative to full ZO2."
    figure = FigureBlock(key="ablation", caption=caption)
    return Section("Ablation", (Paragraph(Ref("ablation"), words), figure))


def break_even_section(table: Table, needed: Table | None) -> Section | None:
    """How many tokens a step needs before streaming is hidden.

    ``needed`` has columns link, bytes_per_s, share and tokens, found by bisection.
    """
    if not has(table, "break_even"):
        return None
    models = listed(map(model_title, unique(of_question(table, "break_even"), "model")))
    words = (
        f" shows ZO2's throughput relative to the resident model's for {models}, by link rate and "
        "tokens per step. A step moves every block, however many tokens it reads, and computes in "
        "proportion to them: more tokens hide a slower link.",
    )
    exact: tuple[Block, ...] = ()
    if needed is not None:
        said = " has how many tokens per step are enough, to one sequence."
        exact = (Paragraph(Ref("tokens-needed"), said), _needed_table(needed))
    caption = (
        "Throughput of ZO2 relative to the model resident on the device, with contours and "
        "measured rates of x16 links."
    )
    return Section(
        "Break-even",
        (
            Paragraph(Ref("break-even"), *words),
            FigureBlock(key="break-even", caption=caption),
            *exact,
        ),
    )


def _needed_table(needed: Table) -> TableBlock:
    shares = dict.fromkeys(floats(needed, "share").tolist())
    return TableBlock(
        key="tokens-needed",
        caption="Fewest tokens per step that reach a share of the resident model's throughput, by "
        "bisection, at each link's measured rate; a dash where 64 sequences do not.",
        header=("link", "GB/s", *(f"{share:.0%}".replace("%", f"{SPACE}%") for share in shares)),
        rows=tuple(
            (
                link,
                number(floats(own, "bytes_per_s")[0] / 1e9),
                *map(number, floats(own, "tokens").tolist()),
            )
            for link in unique(needed, "link")
            for own in (where(needed, "link", link),)
        ),
    )


def both_ways_section(table: Table) -> Section | None:
    """What traffic in both directions costs, and what a rarer write-back saves."""
    if not has(table, "both_ways"):
        return None
    rows = of_question(table, "both_ways")
    parts = [_saving(label, mine) for label, mine in by_label(rows, "write_back_every")]
    words = (
        " varies how often a block is written back. A link may be slower when both directions "
        "are in use. A rarer write-back avoids that, but then each visit replays the records of k "
        f"steps. {' '.join(parts)}"
    )
    caption = "Predicted step time against the write-back interval. Dashed: lower bounds."
    figure = FigureBlock(key="both-ways", caption=caption)
    return Section("Both-ways traffic", (Paragraph(Ref("both-ways"), words), figure))


def _saving(label: str, rows: Table) -> str:
    step_s, every = floats(rows, "step_s"), floats(rows, "write_back_every")
    best = int(step_s.argmin())
    first = f"Link {label}: a step takes {seconds(step_s[0])} at k{SPACE}={SPACE}{every[0]:.0f}"
    if step_s[best] > 0.999 * step_s[0]:
        return f"{first}, and no other k helps."
    saved = percent(1 - step_s[best] / step_s[0])
    return (
        f"{first} and {seconds(step_s[best])} at k{SPACE}={SPACE}{every[best]:.0f}, {saved} less."
    )
