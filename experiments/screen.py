"""Tables on the screen, with headings or as bare pairs, and the progress bar on stderr."""

import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table


def headed(*columns: Column | str, title: str | None = None, gap: int = 2) -> Table:
    """An empty table without lines, ``gap`` blanks on either side of a column.

    A heading alone is a column set left. What is too wide is folded: nothing is cut off.
    """
    shown = [_column(column) if isinstance(column, str) else column for column in columns]
    return Table(*shown, title=title, title_justify="left", box=None, padding=(0, gap))


def right(*headings: str, whole: bool = False) -> list[Column]:
    """Columns of numbers, set right; ``whole`` ones are never broken."""
    return [_column(heading, right=True, whole=whole) for heading in headings]


def left(*headings: str, whole: bool = False) -> list[Column]:
    """Columns of words; ``whole`` ones are never broken."""
    return [_column(heading, whole=whole) for heading in headings]


def pairs(rows: Iterable[tuple[RenderableType, ...]]) -> Table:
    """Rows without a heading, the topic first."""
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    return table


def _column(heading: str, *, right: bool = False, whole: bool = False) -> Column:
    justify = "right" if right else "left"
    return Column(heading, justify=justify, no_wrap=whole, overflow="fold")


def progress_bar() -> Progress:
    """Counts what is done; enter it, add a task, advance it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
    )
