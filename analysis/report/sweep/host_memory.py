"""The section on what the host must hold: page-locked exactly or rounded, pageable, or NVMe."""

from collections.abc import Mapping, Sequence

from analysis.plots.sweep.ram import SYSTEM_GIB
from analysis.report.document import Paragraph, Ref, Section, TableBlock
from analysis.report.wording import SPACE, gib, number
from analysis.table import GIB, Record, Table, has, of_question, records

EXACT, ROUNDED = "pinned, exact size", "pinned by PyTorch"
_USUAL_GIB = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Sizes in which machines come."""


def host_section(table: Table) -> Section | None:
    """Of question ``host_memory``."""
    if not has(table, "host_memory"):
        return None
    rows = records(of_question(table, "host_memory"))
    sizes = {str(row["label"]): float(str(row["host_bytes"])) for row in rows}
    words = (
        Ref("host"),
        f" says what the host holds. {_rounding_words(sizes)} Pageable memory takes no more than "
        "it holds, but every copy then goes through a staging buffer. With NVMe the host keeps "
        f"only the blocks on their way, and the drive keeps two versions of each block."
        f"{_wear_words(rows)}",
    )
    cells = [
        (
            str(row["label"]),
            number(float(str(row["host_bytes"])) / GIB),
            number(float(str(row["nvme_bytes"])) / GIB),
            _ram_size(float(str(row["host_bytes"]))),
        )
        for row in rows
    ]
    block = TableBlock(
        key="host",
        caption="Host memory and NVMe of OPT-175B in GiB, and the smallest usual RAM for it and "
        f"{SYSTEM_GIB:.0f}{SPACE}GiB of the system.",
        header=("weights on the host", "RAM", "NVMe", "machine with"),
        rows=tuple(cells),
    )
    return Section("What host memory is needed", (Paragraph(*words), block))


def host_sentence(table: Table) -> str:
    """For the abstract: what the host needs in fp16; empty where it was not asked."""
    rows = records(of_question(table, "host_memory")) if has(table, "host_memory") else []
    sizes = {str(row["label"]): float(str(row["host_bytes"])) for row in rows}
    if not {EXACT, ROUNDED} <= set(sizes):
        return ""
    return (
        f"Its weights and the process take {gib(sizes[EXACT])} of host memory, or "
        f"{gib(sizes[ROUNDED])} as PyTorch pins them."
    )


def _wear_words(rows: Sequence[Record]) -> str:
    """What a step writes: one of the two versions that the drive keeps."""
    on_drive = (float(str(row["nvme_bytes"])) for row in rows)
    written = next((nbytes / 2 for nbytes in on_drive if nbytes), 0.0)
    if not written:
        return ""
    return (
        f" A step that writes back writes {number(written / 1e9)}{SPACE}GB: a thousand of them, "
        f"{number(written / 1e9)}{SPACE}TB, are a large part of what a drive may write in its life."
    )


def _rounding_words(sizes: Mapping[str, float]) -> str:
    exact, rounded = sizes.get(EXACT), sizes.get(ROUNDED)
    if exact is None or rounded is None:
        return ""
    return (
        f"In fp16 the blocks and the process take {gib(exact)} where buffers of the exact size are "
        f"page-locked. PyTorch's allocator rounds every page-locked tensor up to a power of two "
        f"and needs {gib(rounded)}, {number(rounded / exact)} times as much."
    )


def _ram_size(nbytes: float) -> str:
    needed_gib = nbytes / GIB + SYSTEM_GIB
    return next((f"{size} GiB" for size in _USUAL_GIB if needed_gib <= size), "more")
