"""Mutants: do the tests notice when one small thing in the core is wrong?

python -m tests.mutate --count 100 --seed 1            # all groups, a few mutants each
python -m tests.mutate --count 20 --group codec,noise

A mutant is the tree with one node of one module changed: a comparison, an operator, a constant, a
boolean, a statement dropped, two arguments swapped. It is tried in a copy of what git tracks, never
in place, with the tests of its module: first those that run the changed line, quick before slow,
then the others of their files, up to the first that fails, each with a limit of time. Which tests
run which line is recorded once for every group. The table says how many were killed, survived or
ran out of time; survivors are printed with the line that was changed. Those that
`tests.mutants.core_modules` shows to change no result are counted by themselves.
Exit code 1: fewer than ``--least`` of them were noticed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests import ROOT
from tests.mutants.changes import Mutant, mutants
from tests.mutants.core_modules import GROUPS
from tests.mutants.trial import Trials, copied


def sampled(names: Sequence[str], count: int, seed: int) -> dict[str, list[Mutant]]:
    """About equally many of each group, drawn from all nodes of its modules."""
    chosen: dict[str, list[Mutant]] = {}
    for place, name in enumerate(names):
        share = count // len(names) + (place < count % len(names))
        everything = [
            mutant
            for module in GROUPS[name].modules
            for mutant in mutants(module, (ROOT / module).read_text())
        ]
        draw = random.Random(f"{name} {seed}")  # whichever groups there are
        chosen[name] = draw.sample(everything, min(share, len(everything)))
    return chosen


def main(arguments: argparse.Namespace) -> int:
    names = arguments.group.split(",") if arguments.group else [*GROUPS]
    chosen = sampled(names, arguments.count, arguments.seed)
    counts = dict(_judged(chosen, arguments.jobs))
    total = sum(counts.values(), Counter[str]())
    _say("\n".join(("", _row("group", None), *(_row(n, counts[n]) for n in names))))
    _say(_row("all", total))
    return int(total["survived"] > (1.0 - arguments.least) * total.total())


def _judged(chosen: dict[str, list[Mutant]], jobs: int) -> Iterator[tuple[str, Counter[str]]]:
    """The groups, ``jobs`` at a time, each in whichever copy of the tree is free."""
    with tempfile.TemporaryDirectory() as folder:
        free = SimpleQueue[Path]()
        for number in range(jobs):
            free.put(copied(Path(folder, str(number))))

        def judge(name: str) -> tuple[str, Counter[str]]:
            tree = free.get()
            try:
                return name, _group(name, chosen[name], tree)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(judge, chosen)


def _group(name: str, chosen: Sequence[Mutant], tree: Path) -> Counter[str]:
    found, start_s = Counter[str](), time.monotonic()
    with Trials(tree) as trials:
        touched = trials.touched(GROUPS[name])
        recorded_s = time.monotonic() - start_s
        for mutant in chosen:
            result = trials.outcome(mutant, touched)
            found[result] += 1
            if result == "survived":
                _say(f"survived  {mutant.said}")
    each_s = (time.monotonic() - start_s - recorded_s) / max(1, len(chosen))
    _say(f"{_row(name, found)}   {recorded_s:.0f} s to record, {each_s:.1f} s each")
    return found


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
    parser.add_argument("--jobs", type=int, default=1, help="groups at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
