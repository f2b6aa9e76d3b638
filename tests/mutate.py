"""Mutants: do the tests notice when one small thing in the core is wrong?

python -m tests.mutate --count 100 --seed 1            # all groups, a few mutants each
python -m tests.mutate --count 20 --group codec,noise

A mutant is the tree with one node of one module changed: a comparison, an operator, a constant, a
boolean, a statement dropped, two arguments swapped. The tests of that module run on a copy of what
git tracks, never in place, one mutant at a time, and with a time limit. The table says how many
were killed, survived or ran out of time; survivors are printed with the line that was changed.
Those that `tests.core_modules` shows to change no result are counted by themselves.
Exit code 1: fewer than ``--least`` of them were noticed.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT
from tests.core_modules import EQUIVALENT, GROUPS, Group

# ---- What may be wrong ----

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
        case ast.Call(func, [first, second, *rest], keywords) if not _starred(first, second):
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


def _starred(*nodes: ast.AST) -> bool:
    return any(isinstance(node, ast.Starred) for node in nodes)


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node that makes a result, with where it hangs: no message, annotation, decorator."""
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
    """One module with one node changed; ``said`` shows the change."""

    module: str
    said: str
    text: str


def mutants(module: str, source: str) -> list[Callable[[], Mutant]]:
    """Every mutant of a module, made when asked for."""
    count = sum(_other(child) is not None for *_, child in _places(ast.parse(source)))
    return [lambda number=number: _made(module, source, number) for number in range(count)]


def _made(module: str, source: str, number: int) -> Mutant:
    tree = ast.parse(source)
    found = [place for place in _places(tree) if _other(place[3]) is not None]
    parent, field, index, child = found[number]
    new = _other(child)
    assert new is not None, "it was counted"
    line = source.splitlines()[child.lineno - 1].strip()  # type: ignore[attr-defined]
    said = f"{module}: {line}  # {ast.unparse(child)} -> {ast.unparse(new)}"
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    return Mutant(module, said, ast.unparse(ast.fix_missing_locations(tree)))


# ---- Whether it is noticed ----

_STARTED_S = 20.0  # beside the time that the tests take unchanged
_SLOWER = 3.0


def copied(target: Path) -> Path:
    """What git tracks, as it is now, in a folder of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def outcome(tree: Path, tests: Sequence[str], limit_s: float) -> str:
    """``killed``, ``survived`` or ``timed out``; the tests stop at their first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "--hypothesis-seed=0"]
    command += ["-p", "no:cacheprovider", "--no-header", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    with subprocess.Popen(
        ["nice", "-n", "10", *command],
        cwd=tree,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return "survived" if process.wait(limit_s) == 0 else "killed"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # the group is its own
            return "timed out"


def tried(tree: Path, group: Group, mutant: Mutant, limit_s: float) -> str:
    """What the tests of a group say of a mutant; the copy is as it was afterwards.

    What is known to change nothing is not run.
    """
    if mutant.said in EQUIVALENT:
        return "equivalent"
    path = tree / mutant.module
    original = path.read_text()
    path.write_text(mutant.text)
    try:
        return outcome(tree, group.tests, limit_s)
    finally:
        path.write_text(original)


# ---- The table ----


def sampled(names: Sequence[str], count: int, seed: int) -> dict[str, list[Mutant]]:
    """About equally many of each group, drawn from all nodes of its modules."""
    draw = random.Random(seed)
    chosen: dict[str, list[Mutant]] = {}
    for place, name in enumerate(names):
        share = count // len(names) + (place < count % len(names))
        everything = [
            mutant
            for module in GROUPS[name].modules
            for mutant in mutants(module, (ROOT / module).read_text())
        ]
        chosen[name] = [make() for make in draw.sample(everything, min(share, len(everything)))]
    return chosen


def main(arguments: argparse.Namespace) -> int:
    names = arguments.group.split(",") if arguments.group else [*GROUPS]
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for name, chosen in sampled(names, arguments.count, arguments.seed).items():
            group, began_s = GROUPS[name], time.monotonic()
            if outcome(tree, group.tests, 900.0) != "survived":
                raise SystemExit(f"{name}: the tests must pass unchanged; run {group.tests}")
            limit_s = _SLOWER * (time.monotonic() - began_s) + _STARTED_S
            counts[name] = Counter()
            for mutant in chosen:
                result = tried(tree, group, mutant, limit_s)
                counts[name][result] += 1
                if result == "survived":
                    _say(f"survived  {mutant.said}")
            _say(_row(name, counts[name]))
    total = sum(counts.values(), Counter[str]())
    _say("\n".join(("", _row("group", None), *(_row(n, c) for n, c in counts.items()))))
    _say(_row("all", total))
    return int(total["survived"] > (1.0 - arguments.least) * total.total())


def _row(name: str, counts: Counter[str] | None) -> str:
    columns = ("killed", "survived", "timed out", "equivalent")
    cells = columns if counts is None else [str(counts[column]) for column in columns]
    return f"{name:12}" + "".join(f"{cell:>12}" for cell in cells)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Do the tests notice when one small thing is wrong?"
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--group", default="", help=", ".join(GROUPS))
    parser.add_argument("--least", type=float, default=0.95)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
