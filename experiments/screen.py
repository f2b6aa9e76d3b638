"""Tables on the screen, with headings or as bare pairs, and the progress bar on stderr."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

T = TypeVar("T")

_GOES_ON = " \\"


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


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """A bar of ``width`` columns that is filled by a share; full where that is above 1."""
    full, empty = ("#", "-") if ascii_only else ("\u2588", "\u2591")
    filled = min(width, max(1, round(share * width))) if share > 0.0 else 0
    return full * filled + empty * (width - filled)


def _column(heading: str, *, right: bool = False, whole: bool = False) -> Column:
    justify = "right" if right else "left"
    return Column(heading, justify=justify, no_wrap=whole, overflow="fold")


def progress_bar() -> Progress:
    """Counts what is done, and says how long the rest may take; enter it, add a task, advance it.

    Nothing is shown where stderr is no terminal, and nothing of it stays.
    """
    return _progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(
        *columns,
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


@contextmanager
def working(what: str) -> Iterator[None]:
    """While something runs whose parts nobody can count: what it is, and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _progress(*columns) as progress:
        progress.add_task(what, total=None)
        yield


def tracked(items: Iterable[T], what: str, *, total: int | None) -> Iterator[T]:
    """The items one by one, with a bar that counts those that are done."""
    with progress_bar() as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


def show_command(console: Console, topic: str, words: Iterable[str]) -> None:
    """A command to copy, beside its topic: in lines that a shell joins, where its words let it."""
    room = console.width - len(topic)
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + len(" " + _GOES_ON) > room:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    text = f"{_GOES_ON}\n{'':{len(topic)}}".join(lines)
    console.print(f"{topic}{text}", markup=False, highlight=False, soft_wrap=True)
