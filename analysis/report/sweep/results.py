"""Sections on what the sweep predicts: memory, throughput, and one step in detail."""

from analysis.plots.style import model_title, series
from analysis.plots.sweep.published import Comparison, compared, known
from analysis.plots.sweep.throughput import CODE, mezo, speedups
from analysis.plots.timeline import LANES
from analysis.report.document import (
    TRACE,
    Block,
    FigureBlock,
    Paragraph,
    Ref,
    Section,
    TableBlock,
)
from analysis.report.plain import files_offered
from analysis.report.sweep.findings import (
    LargestModel,
    binding_counts,
    largest_model,
    memory_errors,
    ratios_to_mezo,
)
from analysis.report.wording import (
    BINDING_NAMES,
    between,
    counted,
    gib,
    listed,
    number,
    percent,
    seconds,
    signed_percent,
    span,
)
from analysis.table import (
    Table,
    floats,
    has,
    of_question,
    records,
    sorted_by,
    step_interval_s,
    texts,
    unique,
    where,
)
from zo2sim.simulate.trace import Trace, breakdown

_LARGE = 6e9  # parameters: from OPT-6.7B on


def memory_section(table: Table, published: Table) -> Section | None:
    """Figure, the largest model in words, and a table of published against predicted."""
    largest = largest_model(table)
    if largest is None:
        return None
    blocks: list[Block] = [
        Paragraph(
            Ref("memory"),
            " shows predicted device memory against model size, with published "
            f"figures where there are any. {_largest_words(largest)}",
        ),
        FigureBlock(
            key="memory",
            caption="Device memory against model size. Lines: predicted. Open markers: published. "
            f"Dashed: memory of common cards.{_variants(table)}",
        ),
    ]
    return Section("Memory", (*blocks, *_error_blocks(table, published)))


def _variants(table: Table) -> str:
    """Says which variant of the models was taken, if any: what follows the colon."""
    models = unique(of_question(table, "memory"), "model")
    variants = dict.fromkeys(model.partition(":")[2] for model in models)
    named = [variant for variant in variants if variant]
    return f" Variant of the models: {listed(named)}." if named else ""


def _largest_words(largest: LargestModel) -> str:
    needs = [
        f"{gib(nbytes)} with {series(label).title}"
        for label, nbytes in largest.device_bytes.items()
        if nbytes == nbytes
    ]
    host = largest.host_bytes
    tail = f" ZO2 then keeps {gib(host)} in host memory." if host == host else ""
    return f"The largest model, {model_title(largest.model)}, needs {listed(needs)}.{tail}"


def _error_blocks(table: Table, published: Table) -> list[Block]:
    errors = memory_errors(table, published)
    if errors is None:
        return []
    words = (
        f" sets {counted(errors.count, 'published figure')} against the prediction: the median "
        f"absolute error is {percent(errors.median)}, the largest {percent(errors.worst)} "
        f"({model_title(errors.worst_model)})."
    )
    cells = tuple(
        (
            f"{model_title(one.model)}, {_what(one)}",
            number(one.published_gib),
            number(one.predicted_gib),
            signed_percent(one.error),
        )
        for one in known(compared(table, published))
    )
    caption = "Device memory in GiB: published, predicted, and the relative error."
    header = ("figure", "published", "predicted", "error")
    return [
        Paragraph(Ref("memory-errors"), words),
        TableBlock(key="memory-errors", caption=caption, header=header, rows=cells),
    ]


def _what(one: Comparison) -> str:
    who = "ZO2" if one.label == "zo2_reference" else one.label
    return f"{who} allocated" if one.is_allocated else who


def throughput_section(table: Table) -> Section | None:
    """Figure, ratios to MeZO, what binds, and step times beside their bounds."""
    if not has(table, "throughput"):
        return None
    rows = of_question(table, "throughput")
    figure = FigureBlock(
        key="throughput",
        caption="Predicted throughput against model size, absolute and relative to MeZO on the "
        "same device with as many microbatches. Hollow: does not fit. Thin lines: what the busiest "
        "resource would allow. Open squares below: what ZO2's publication says of its code.",
    )
    words = f" shows predicted throughput.{_ratio_words(table)}{_published_words(table)}"
    return Section(
        "Throughput", (Paragraph(Ref("throughput"), words), figure, *_bound_blocks(rows))
    )


def _published_words(table: Table) -> str:
    """The main disagreement with ZO2's publication, in numbers."""
    rows = where(of_question(table, "throughput"), "label", CODE)
    found = speedups(rows, mezo(of_question(table, "throughput")))
    sizes = zip(floats(rows, "model_elements").tolist(), found.tolist(), strict=True)
    known = [ratio for elements, ratio in sizes if elements >= _LARGE and ratio == ratio]
    if not known:
        return ""
    off = between((ratio - 1.0 for ratio in sorted(known, reverse=True)), signed_percent)
    return (
        " ZO2's publication says that its code has almost no overhead over MeZO in fp16; from "
        f"6.7B on, {off} is predicted for it here, on the median host of this link."
    )


def _ratio_words(table: Table) -> str:
    labels = unique(of_question(table, "throughput"), "label")
    parts = [
        f"{series(label).title} {between(found)}"
        for label in labels
        if not label.startswith("MeZO") and len(found := ratios_to_mezo(table, label))
    ]
    if not parts:
        return ""
    return (
        " As a multiple of MeZO with as many microbatches and the whole model on the same device, "
        "were it large enough: "
        f"{'; '.join(parts)}."
    )


def _bound_blocks(rows: Table) -> list[Block]:
    own = sorted_by(where(rows, "label", "zo2"), "model_elements")
    counts = binding_counts(rows)
    binds = listed(f"{BINDING_NAMES.get(r, r)} in {count}" for r, count in counts.items())
    words = f"Of {counted(len(rows), 'configuration')}, what binds is {binds}."
    if own.empty:
        return [Paragraph(words)]
    slack = floats(own, "step_s") / floats(own, "lower_bound_s")
    more = f" gives ZO2's step times, which are {between(slack)} times their lower bounds."
    return [
        Paragraph(f"{words} ", Ref("bounds"), more),
        TableBlock(
            key="bounds",
            caption="ZO2's predicted step, its lower bound, what binds, and throughput relative to "
            f"MeZO.{_band_words(own)}",
            header=("model", "step", *_bands(own), "bound", "binds", "tokens/s", "/ MeZO"),
            rows=_bound_rows(own, where(rows, "label", "MeZO")),
            wide=bool(_bands(own)),
        ),
    ]


def _bands(rows: Table) -> dict[str, list[str]]:
    """The column of 90 % bands by its heading, where the table has them."""
    ends = step_interval_s(rows)
    if ends is None:
        return {}
    return {"90 % band": [span(low, high, seconds) for low, high in zip(*ends, strict=True)]}


def _band_words(rows: Table) -> str:
    return " The band holds what is known to scatter, and no more." if _bands(rows) else ""


def _bound_rows(own: Table, mezo: Table) -> tuple[tuple[str, ...], ...]:
    columns = (
        map(model_title, texts(own, "model")),
        map(seconds, floats(own, "step_s")),
        *_bands(own).values(),
        map(seconds, floats(own, "lower_bound_s")),
        (name.replace("_", " ") for name in texts(own, "binding_resource")),
        map(number, floats(own, "tokens_per_s")),
        map(number, speedups(own, mezo)),
    )
    return tuple(zip(*columns, strict=True))


def timeline_section(table: Table, trace: Trace | None) -> Section | None:
    """One steady step: pictures, where its time goes, and the file that holds all of it.

    What was traced is named by the table's row of question ``timeline``, or by the trace.
    """
    if trace is None:
        return None
    window = trace.steady
    parts = breakdown(trace, window)
    steps = trace.steps_per_period
    busy = listed(
        f"{LANES[stream]} {percent(busy_s / parts.length_s)}"
        for stream, busy_s in parts.busy_s.items()
    )
    words = (
        f" shows one steady period of {counted(steps, 'step')}, {seconds(trace.step_s)} per step. "
        f"Streams are busy for these shares of it: {busy}. The device copies without computing "
        f"for {percent(parts.exposed_s / parts.length_s)} of the time, and does neither for "
        f"{percent(parts.bubble_s / parts.length_s)}. The first step, which finds an empty "
        f"device and no update to apply, takes {seconds(trace.first_step_s)}."
    )
    caption = (
        f"The steady state of {_traced(table, trace)}. Above: the whole period. Below: four "
        "blocks from its middle. Shaded: a copy runs while compute waits."
    )
    blocks = (
        Paragraph(Ref("timeline"), words),
        FigureBlock(key="timeline", caption=caption, wide=True),
        *files_offered((TRACE,)),
    )
    return Section("One step", blocks)


def _traced(table: Table, trace: Trace) -> str:
    if not has(table, "timeline"):
        return trace.name
    row = records(of_question(table, "timeline"))[0]
    return (
        f"{series(str(row['label'])).title}, {model_title(str(row['model']))} on {row['machine']}"
    )
