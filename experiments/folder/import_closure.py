"""What importing a module reaches, read from the sources; nothing is executed.

So the answer is the same in every process, whatever that process has imported so far. A name that
is computed, as `importlib.import_module` takes it, is not seen.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Self

PACKAGES = ("zo2sim", "zo2rt", "analysis", "experiments")
"""The project's own; every other name is somebody else's."""

_NESTS = (ast.stmt, ast.excepthandler, ast.match_case)
_CALLED = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportClosure:
    """``sources`` are files of the project; ``foreign`` are others' packages, as imported.

    The standard library is in neither.
    """

    sources: frozenset[Path]
    foreign: frozenset[str]

    @classmethod
    def of(cls, module: str, root: Path, *, deferred: bool) -> Self:
        """Of a module of the project, the packages of which lie in ``root``.

        ``deferred`` adds what only a call of a function imports. Raises ``ValueError`` where
        there is no such module.
        """
        if _source(module, root) is None:
            raise ValueError(f"{module} must be a module of the project below {root}")
        names: set[str] = set()
        sources: set[Path] = set()
        pending = {*_with_parents(module)}
        while pending:
            name = pending.pop()
            names.add(name)
            source = _source(name, root)
            if source is not None:
                sources.add(source)
                pending |= imported(source, deferred=deferred) - names
        foreign = {name for name in names if "." not in name} - sys.stdlib_module_names
        return cls(sources=frozenset(sources), foreign=frozenset(foreign.difference(PACKAGES)))


def imported(source: Path, *, deferred: bool) -> frozenset[str]:
    """Names that a file imports, with their parents; of ``from a import b`` both a and a.b."""
    return _imported(source.read_bytes(), deferred)


@cache
def _imported(text: bytes, deferred: bool) -> frozenset[str]:
    nodes = _imports(ast.parse(text), deferred)
    return frozenset(n for node in nodes for name in _names(node) for n in _with_parents(name))


def _imports(node: ast.AST, deferred: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Statements, wherever they are nested; no expression holds one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, _NESTS) and (deferred or not isinstance(child, _CALLED)):
            yield from _imports(child, deferred)


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def _with_parents(name: str) -> Iterator[str]:
    return accumulate(name.split("."), "{}.{}".format)


def _source(name: str, root: Path) -> Path | None:
    """The file of a module or of a package of the project."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    bare = root.joinpath(*parts)
    either = (bare / "__init__.py", bare.with_suffix(".py"))
    return next((path for path in either if path.is_file()), None)
