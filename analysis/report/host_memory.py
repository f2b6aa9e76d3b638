"""The section on what the host must hold: page-locked exactly or rounded, pageable, or NVMe."""

from collections.abc import Mapping

from analysis.plots.ram import RAM_GIB
from analysis.plots.rows import GIB, Table, has, of_question, records
from analysis.report.document import Paragraph, Ref, Section, TableBlock
from analysis.report.wording import gib, number


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
        "only the blocks on their way, and the drive keeps two versions of each block.",
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
        caption=("Host memory and NVMe of OPT-175B in GiB, and the smallest usual RAM for it.",),
        header=("weights on the host", "RAM", "NVMe", "machine with"),
        rows=tuple(cells),
    )
    return Section("What host memory is needed", (Paragraph(words), block))


def _rounding_words(sizes: Mapping[str, float]) -> str:
    exact, rounded = sizes.get("pinned, exact size"), sizes.get("pinned by PyTorch")
    if exact is None or rounded is None:
        return ""
    return (
        f"In fp16 the blocks and the process take {gib(exact)} where buffers of the exact size are "
        f"page-locked. PyTorch's allocator rounds every page-locked tensor up to a power of two "
        f"and needs {gib(rounded)}, {number(rounded / exact)} times as much."
    )


def _ram_size(nbytes: float) -> str:
    sizes = (32, *RAM_GIB, 768, 1024, 1536, 2048)
    return next((f"{size} GiB" for size in sizes if nbytes <= size * GIB), "more")
