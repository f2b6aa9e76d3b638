# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Picking rows and columns of the sweep's wide table: all that figures and reports ask of pandas.

What comes out is typed: lists of text, arrays of float64, or a smaller table.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

GIB = 2**30

Table = pd.DataFrame
Floats = npt.NDArray[np.float64]
Record = dict[str, object]
"""One row by column."""


def has(table: Table, question: str) -> bool:
    """Whether the sweep answered the question at all."""
    return question in unique(table, "question")


def of_question(table: Table, question: str) -> Table:
    """The rows of one question. Raises ``ValueError`` when there are none."""
    rows = where(table, "question", question)
    if rows.empty:
        asked = ", ".join(sorted(unique(table, "question"))) or "nothing"
        raise ValueError(f"the table must have rows of question {question!r}; it has {asked}")
    return rows


def where(rows: Table, column: str, *values: object) -> Table:
    """Rows whose column has the value, or one of them."""
    return cast(Table, rows.loc[rows[column].isin(values)])


def texts(rows: Table, column: str) -> list[str]:
    """A column as text."""
    return [str(value) for value in rows[column].tolist()]


def unique(rows: Table, column: str) -> list[str]:
    """A column's values as text, each once, in the order of the table."""
    return list(dict.fromkeys(texts(rows, column)))


def floats(rows: Table, column: str) -> Floats:
    """A column as float64; a column that the table lacks is all NaN."""
    if column not in rows.columns:
        return np.full(len(rows), np.nan)
    return np.array(rows[column].tolist(), dtype=np.float64)


def flags(rows: Table, column: str) -> npt.NDArray[np.bool_]:
    """A column as booleans."""
    return np.array(rows[column].tolist(), dtype=np.bool_)


def records(rows: Table) -> list[Record]:
    """Every row by column."""
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]


def sorted_by(rows: Table, column: str) -> Table:
    """Rows in ascending order of a column; equal ones keep their order."""
    return rows.sort_values(column, kind="stable")


def by_label(rows: Table, order: str) -> Iterator[tuple[str, Table]]:
    """Each series in the order of the table, its rows sorted by one column."""
    for label in unique(rows, "label"):
        yield label, sorted_by(where(rows, "label", label), order)


def device_gib(rows: Table) -> Floats:
    """Device memory as a monitor shows it (NVML) where it was predicted, else the sum of items."""
    shown = floats(rows, "device_nvml_bytes")
    return np.where(np.isnan(shown), floats(rows, "device_bytes"), shown) / GIB


def step_interval_s(rows: Table) -> tuple[Floats, Floats] | None:
    """Lower and upper ends of the step time where the table has both, else None."""
    low, high = floats(rows, "step_s_low"), floats(rows, "step_s_high")
    return None if np.isnan(low).all() or np.isnan(high).all() else (low, high)


def error_bars(value: Floats, low: Floats, high: Floats) -> Floats:
    """Distances below and above, as `Axes.errorbar` takes them; unknown ends have length 0."""
    return np.nan_to_num(np.stack([value - low, high - value])).clip(min=0.0)
