"""A task of real text: which package is a paragraph of documentation from?

The text is the docstrings of packages that `zo2rt` and its own packages bring along. A document is
a module: paragraphs to be judged by come from modules of which none was trained on. Classes are
equally likely. What is installed decides the text, so its digest stands beside the figures.
"""

import ast
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("matplotlib", "networkx", "pandas", "sympy", "torch", "transformers")
_SIZES = range(5_000, 80_000)  # bytes of the modules that are read
_MOST_MODULES = 60
_LENGTHS = range(60, 400)  # characters of a paragraph
_JUDGED_EVERY = 4  # every fourth module of a package is kept for the held-out paragraphs
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

Labelled = tuple[str, int]
"""A paragraph, and the number of its package."""
Documents = tuple[tuple[str, ...], ...]
"""The paragraphs of every module of a package."""


@dataclass(frozen=True, slots=True)
class Paragraphs:
    """Paragraphs to train on and to be judged by; no module has both."""

    training: tuple[Labelled, ...]
    held_out: tuple[Labelled, ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr((self.training, self.held_out)).encode()).hexdigest()


def paragraphs(
    packages: Sequence[Documents], *, training: int, held_out: int, seed: int
) -> Paragraphs:
    """So many of each package, every module as likely as another; the order is the seed's."""
    draw = random.Random(seed)
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    for label, documents in enumerate(packages):
        order = draw.sample(documents, len(documents))
        kept = [d for i, d in enumerate(order) if i % _JUDGED_EVERY]
        for part, own, count in zip(
            parts, (kept, order[::_JUDGED_EVERY]), (training, held_out), strict=True
        ):
            part += [(draw.choice(draw.choice(own)), label) for _ in range(count)]
    draw.shuffle(parts[0])
    return Paragraphs(tuple(parts[0]), tuple(parts[1]))


def read_documents(package: str) -> Documents:
    """Of an installed package. Raises ``ValueError`` where it has too few documented modules."""
    spec = find_spec(package)
    root = None if spec is None or spec.origin is None else Path(spec.origin).parent
    files = [] if root is None else [*_files(root)]
    found = tuple(p for p in map(_read, files[:: max(1, len(files) // _MOST_MODULES)]) if p)
    if len(found) < 2 * _JUDGED_EVERY:
        raise ValueError(
            f"{package} must be installed with {2 * _JUDGED_EVERY} documented modules, whose text "
            f"the task is made of; found {len(found)}"
        )
    return found


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.parts and path.stat().st_size in _SIZES:
            yield path


def _read(path: Path) -> tuple[str, ...]:
    tree = ast.parse(path.read_bytes())
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED))
    return tuple(sorted({line for text in texts if text for line in _lines(text)}))


def _lines(text: str) -> Iterator[str]:
    """Paragraphs of running text, each on one line."""
    for block in text.split("\n\n"):
        line = " ".join(block.split())
        if block[:1].isalpha() and len(line) in _LENGTHS and line.isascii():
            yield line
