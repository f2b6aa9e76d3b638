"""A task made of text that every CPython brings along: is this fragment code, or prose?

Code is the source of the standard library without its comments and docstrings; prose is the
paragraphs of its docstrings and of the language reference (`pydoc_data.topics`). Fragments to
be judged by come from other modules and topics than those to train on. The text depends on the
version of Python, so the digest of the examples stands in every run's config.
"""

import ast
import hashlib
import random
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from experiments.training.batches import Task
from zo2rt.data.examples import Example

FRAGMENT = 48
"""Characters of a fragment."""
NAME = "code-or-prose"
CODE, PROSE = "c", "p"
"""The answers."""

_SIZES = range(10_000, 60_000)  # bytes of the modules that are read
_MOST_MODULES = 40
_TRAINING = 4096  # examples
_SPACE = re.compile(r"\s")
_JUDGED_EVERY = 4  # every fourth module and topic is kept for the held-out examples


@dataclass(frozen=True)
class Texts:
    """Documents of both kinds; each is a module or a topic, whole or as paragraphs."""

    code: tuple[tuple[str, ...], ...]
    prose: tuple[tuple[str, ...], ...]

    @cached_property
    def training(self) -> "Texts":
        return Texts(_kept(self.code, held_out=False), _kept(self.prose, held_out=False))

    @cached_property
    def held_out(self) -> "Texts":
        return Texts(_kept(self.code, held_out=True), _kept(self.prose, held_out=True))

    def fragments(self, count: int, *, seed: int) -> Iterator[tuple[str, str]]:
        """Fragments with their answers, code and prose in turn."""
        draw = random.Random(seed)
        for number in range(count):
            answer, documents = (PROSE, self.prose) if number % 2 else (CODE, self.code)
            yield _fragment(draw, draw.choice(documents)), answer


def code_or_prose(texts: Texts, *, most_held_out: int) -> Task:
    """The task, from one text for training and another to be judged by."""
    training, held_out = (
        tuple(Example(prompt=f"{text}\n", completion=answer) for text, answer in fragments)
        for fragments in (
            texts.training.fragments(_TRAINING, seed=1),
            texts.held_out.fragments(most_held_out, seed=2),
        )
    )
    digest = hashlib.sha256(repr((training, held_out)).encode())
    return Task(
        name=NAME,
        training=training,
        held_out=held_out,
        candidates=(CODE, PROSE),
        sha256=digest.hexdigest(),
    )


def read_texts() -> Texts:
    """The documents of this Python. Raises ``ValueError`` where its sources are not installed."""
    modules = [*_modules()]
    running = [*_topics(), *map(_docstrings, modules)]  # before `_code` takes docstrings away
    prose = [tuple(_paragraphs(text)) for text in running]
    code = tuple((_code(tree),) for tree in modules)
    found = Texts(code=code, prose=tuple(p for p in prose if p))
    if len(found.code) < 2 * _JUDGED_EVERY or len(found.prose) < 2 * _JUDGED_EVERY:
        raise ValueError(
            f"the sources of the standard library must be installed to make text of them; found "
            f"{len(found.code)} modules in {_library()}; give --data and --model instead"
        )
    return found


def _library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _modules() -> Iterator[ast.Module]:
    files = (p for p in sorted(_library().glob("[a-z]*.py")) if p.stat().st_size in _SIZES)
    for path in [*files][:_MOST_MODULES]:
        yield ast.parse(path.read_bytes())


def _topics() -> tuple[str, ...]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions leave it out
        return ()
    return tuple(topics[name] for name in sorted(topics))


def _docstrings(tree: ast.Module) -> str:
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED))
    return "\n\n".join(text for text in found if text)


def _code(tree: ast.Module) -> str:
    """The module without comments and docstrings, its lines without indentation."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return "\n".join(line.strip() for line in ast.unparse(tree).splitlines() if line.strip())


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of running text, each on one line: those that begin with a letter."""
    for block in text.split("\n\n"):
        line = " ".join(block.split())
        if block[:1].isalpha() and len(line) > 2 * FRAGMENT and line.isascii():
            yield line


def _fragment(draw: random.Random, document: Sequence[str]) -> str:
    """`FRAGMENT` characters of one text, from the beginning of a word on."""
    text = draw.choice(document)
    last = len(text) - FRAGMENT
    space = _SPACE.search(text, draw.randrange(last), last)
    first = last if space is None else space.end()
    return text[first : first + FRAGMENT]


def _kept(documents: Sequence[tuple[str, ...]], *, held_out: bool) -> tuple[tuple[str, ...], ...]:
    return tuple(d for i, d in enumerate(documents) if (i % _JUDGED_EVERY == 0) is held_out)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
