"""Runs the cells of a notebook in this process, and tells what each leaves: no kernel is needed."""

import ast
import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any


def run_cells(cells: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """The outputs of one cell after the other, as a notebook has them; what is raised is raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(cells, 1):
        yield _outputs(source, f"cell {number}", names)


def _outputs(source: str, where: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    said, value = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    return [*_printed(said.getvalue()), *_shown(value)]


def _printed(text: str) -> Iterator[dict[str, Any]]:
    if text:
        yield {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}


def _shown(value: Any) -> Iterator[dict[str, Any]]:
    if value is None:
        return
    data = {"text/plain": [repr(value)]}
    if hasattr(value, "_repr_html_"):
        data = {"text/html": [value._repr_html_()], **data}
    yield {"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"}
