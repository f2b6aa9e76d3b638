"""The section on a grid of cases: its best ones, with what sets them apart."""

from analysis.plots.style import model_title
from analysis.report.document import Paragraph, Ref, Section, TableBlock
from analysis.report.wording import counted, number, setting
from analysis.table import GIB, Record, Table, has, of_question, records, step_interval_s, unique

_MOST_ROWS = 15
_SETTINGS_END = "model_elements"
"""The first column of the wide table that is no setting."""


def grid_section(table: Table) -> Section | None:
    """The cases of question ``grid`` with the most tokens per second; those that fit come first."""
    if not has(table, "grid"):
        return None
    rows = of_question(table, "grid")
    best = sorted(records(rows), key=_merit, reverse=True)[:_MOST_ROWS]
    varied, banded = _varied(rows), step_interval_s(rows) is not None
    band = ("90 % band",) if banded else ()
    words = (
        Ref("best"),
        f" has the fastest of the grid, those that fit first: {counted(len(best), 'case')}"
        f"{f', told apart by {_names(varied)}' if varied else ''}.",
    )
    block = TableBlock(
        key="best",
        caption="The fastest cases of the grid: tokens per second, seconds per step"
        f"{' with its 90 % band' if banded else ''}, memory of device and host in GiB, and "
        "what binds.",
        header=(*varied, "tokens/s", "step", *band, "device", "host", "binds", "fits"),
        rows=tuple(
            (*(_text(row[name]) for name in varied), *_numbers(row, banded)) for row in best
        ),
        wide=True,
    )
    return Section("The fastest cases", (Paragraph(*words), block))


def _merit(row: Record) -> tuple[bool, float]:
    return bool(row["fits"]), float(str(row["tokens_per_s"]))


def _varied(rows: Table) -> tuple[str, ...]:
    """Settings that differ within the grid; the label only repeats them."""
    names = [str(name) for name in rows.columns]
    settings = names[: names.index(_SETTINGS_END)]
    return tuple(
        name
        for name in settings
        if name not in ("question", "label") and len(unique(rows, name)) > 1
    )


def _names(varied: tuple[str, ...]) -> str:
    return ", ".join(name.replace("_", " ") for name in varied)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else model_title(setting(value))


def _numbers(row: Record, banded: bool) -> tuple[str, ...]:
    def value(column: str, unit: float = 1.0) -> str:
        return number(float(str(row[column])) / unit)

    return (
        value("tokens_per_s"),
        value("step_s"),
        *((f"{value('step_s_low')} to {value('step_s_high')}",) if banded else ()),
        value("device_bytes", GIB),
        value("host_bytes", GIB),
        str(row["binding_resource"]).replace("_", " "),
        "yes" if row["fits"] else "no",
    )
