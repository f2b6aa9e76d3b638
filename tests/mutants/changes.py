"""Mutants of a module: one node of it changed, which says nothing about messages or types."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_REPLACED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Pow: ast.Mult,
}
_Place: TypeAlias = tuple[ast.AST, str, int | None, ast.AST]
_ASIDE = ("annotation", "returns", "type_params", "decorator_list")


def _other(node: ast.AST) -> ast.AST | None:
    """The node with one thing wrong; None where this one is left alone."""
    match node:
        case ast.Compare(left, [op, *ops], comparators) if type(op) in _COMPARED:
            return ast.Compare(left, [_COMPARED[type(op)](), *ops], comparators)
        case ast.BinOp(left, op, right) if type(op) in _REPLACED and not _is_text(node):
            return ast.BinOp(left, _REPLACED[type(op)](), right)
        case ast.BoolOp(ast.And(), values):
            return ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(ast.Or(), values):
            return ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            return operand
        case ast.Constant(value) if isinstance(value, bool):
            return ast.Constant(not value)
        case ast.Constant(value) if isinstance(value, (int, float)):
            return ast.Constant(value + 1)
        case ast.Call(ast.Name("min" | "max")):  # in any order they are the same
            return None
        case ast.Call(func, [first, second, *rest], keywords) if _differ(first, second):
            return ast.Call(func, [second, first, *rest], keywords)
        case ast.Raise() | ast.AugAssign() | ast.Expr(ast.Call()) | ast.Expr(ast.YieldFrom()):
            return ast.Pass()
        case _:
            return None


def _is_text(node: ast.AST) -> bool:
    return any(
        isinstance(n, ast.JoinedStr) or (isinstance(n, ast.Constant) and isinstance(n.value, str))
        for n in ast.walk(node)
    )


def _differ(first: ast.AST, second: ast.AST) -> bool:
    """Whether they are two arguments, and not the same one twice."""
    starred = any(isinstance(node, ast.Starred) for node in (first, second))
    return not starred and ast.dump(first) != ast.dump(second)


def _places(node: ast.AST) -> Iterator[_Place]:
    """Every node that makes a result, with where it hangs: no message, annotation, decorator, and
    no assertion, as ``strict`` is one: what is zipped is equally long."""
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    for field, value in ast.iter_fields(node):
        if field in _ASIDE or isinstance(node, (ast.JoinedStr, ast.Assert)):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                yield node, field, index if isinstance(value, list) else None, child
                if not isinstance(child, ast.Raise):  # of which the message is text
                    yield from _places(child)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One module with one node changed, which stands in ``lines``; ``said`` shows the change."""

    module: str
    said: str
    lines: range
    source: str
    number: int

    @property
    def text(self) -> str:
        """The module with the change, its comments and layout left out."""
        tree = ast.parse(self.source)
        _, (parent, field, index, _), new = _changes(tree)[self.number]
        if index is None:
            setattr(parent, field, new)
        else:
            getattr(parent, field)[index] = new
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module."""
    stripped = [line.strip() for line in source.splitlines()]
    return [
        Mutant(
            module,
            f"{module}: {stripped[lines[0] - 1]}  # {ast.unparse(old)} -> {ast.unparse(new)}",
            lines,
            source,
            number,
        )
        for number, (lines, (*_, old), new) in enumerate(_changes(ast.parse(source)))
    ]


def _changes(tree: ast.AST) -> list[tuple[range, _Place, ast.AST]]:
    """The lines, the place and the other node of every change."""
    return [
        (range(place[3].lineno, place[3].end_lineno + 1), place, new)  # type: ignore[attr-defined]
        for place in _places(tree)
        if (new := _other(place[3])) is not None
    ]
