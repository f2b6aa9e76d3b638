"""Sections around the results: method, kernel models, limits."""

from collections.abc import Mapping

from analysis.plots.style import model_title
from analysis.report.document import Block, Paragraph, Ref, Section, TableBlock
from analysis.report.wording import counted, few, number, percent
from analysis.table import Table, records, unique

LIMITS = (
    "Compute times come from tables of bf16 kernels that others measured; fp16 is taken to be "
    "as fast, and shapes that the tables lack are interpolated, or extrapolated where they lie "
    "outside.",
    "This project has run nothing on a CUDA device for these figures. Step times are predictions, "
    "and where no published figure stands beside one it is unverified.",
    "Memory has one fitted constant, the CUDA context, and published figures of whole-device "
    "memory that the table shows were used to fit it; figures of allocated memory use none.",
    "Host figures (memory bandwidth, CPU update rate, pinning) are assumptions of the machine "
    "files, marked as such there.",
    "Link rates are medians of hosts that others measured; two machines with the same card can "
    "differ.",
    "Published memory in GB is read as 1000 MiB, the reading under which the traced allocations of "
    "the published code agree with all published allocated figures to the last digit. Read as GiB, "
    "every published figure is 2.4 % larger and every error 2.3 points lower.",
    "Published figures are rounded and come with an incomplete description of their setup, so "
    "part of each error is theirs.",
)
"""What a reader must know before using a number."""


def method_section(table: Table, summary: Mapping[str, str]) -> Section:
    """What is predicted, and how; the summary's rows as a table."""
    machines = few(unique(table, "machine"), "machine")
    models = few(dict.fromkeys(map(model_title, unique(table, "model"))), "model")
    what = (
        "Zeroth-order fine-tuning needs only forward passes, so ZO2 (arXiv:2503.12668) streams a "
        "model block by block from host memory through a small device: upload, apply the update "
        "of the previous step, run both perturbed forwards, offload. The sweep predicts step time "
        f"and memory of {asked(table, summary)} of {models} on {machines}."
    )
    how = (
        "A policy generates the schedule of a step as data: operations on streams, with the edges "
        "that their reads and writes demand. A discrete-event simulation runs it on a machine of "
        "rates, where copies in both directions and the CPU share what the link and host memory "
        "give. Memory is a sum of items that the schedule declares. Every time stands beside a "
        "lower bound: the busiest resource, or the chain of dependencies, whichever is longer."
    )
    return Section("Method", (Paragraph(what), Paragraph(how), *_summary(summary)))


def asked(table: Table, summary: Mapping[str, str]) -> str:
    """How many configurations; a large grid has only its best ones in the table."""
    return counted(int(summary.get("predictions", len(table))), "configuration")


def _summary(summary: Mapping[str, str]) -> list[Block]:
    if not summary:
        return []
    rows = tuple((str(name), str(value)) for name, value in summary.items())
    caption = "The sweep at a glance."
    table = TableBlock(key="summary", caption=caption, header=("what", "value"), rows=rows)
    return [Paragraph(Ref("summary"), " sums the sweep up."), table]


def kernel_section(kernels: Table | None) -> Section | None:
    """Errors of the kernel models on shapes that no fit has seen; columns as they are given.

    A column whose name contains "error" is shown in percent.
    """
    if kernels is None or kernels.empty:
        return None
    found = records(kernels)
    header = tuple(column.replace("_", " ") for column in found[0])
    rows = tuple(tuple(_cell(*item) for item in record.items()) for record in found)
    words = (
        "Compute times rest on models of matrix and attention kernels. ",
        Ref("kernels"),
        " shows how far they are off on shapes that were kept out of the fit.",
    )
    caption = "Hold-out errors of the kernel models."
    table = TableBlock(
        key="kernels", caption=caption, header=header, rows=rows, wide=len(header) > 5
    )
    return Section("Kernel models", (Paragraph(*words), table))


def _cell(column: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return percent(value) if "error" in column else number(value)


def limits_section() -> Section:
    """One paragraph per limit."""
    return Section("Limits", tuple(Paragraph(limit) for limit in LIMITS))
