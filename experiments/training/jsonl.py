"""Training data from JSON lines: text, text and label, or prompt and completion."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.cli import json_object
from experiments.training.batches import Task, candidates_of, split
from zo2rt.data.examples import Example
from zo2sim.reading import read_text

_PREVIEW = 40  # characters of a wrong value that an error shows


def read_task(path: Path, held_out: Path | None, *, most_held_out: int) -> Task:
    """The task of a file, and of a second one to be judged by; else a tenth is held out.

    The first line decides which keys every line must have; other keys are ignored. Raises
    ``ValueError`` naming file, line and key.
    """
    text = _text(path, "--data")
    examples = tuple(_examples(text, path))
    digest = hashlib.sha256(text.encode())
    if held_out is None:
        if len(examples) < 2:
            raise ValueError(
                f"{path}: needs at least 2 examples, one of them to be held out; got "
                f"{len(examples)}; add lines, or give --eval-data"
            )
        training, judged = split(examples, most_held_out=most_held_out)
    else:
        other = _text(held_out, "--eval-data")
        training, judged = examples, tuple(_examples(other, held_out))[:most_held_out]
        digest.update(other.encode())
    return Task(
        name=path.stem,
        training=training,
        held_out=judged,
        candidates=candidates_of((*training, *judged)),
        sha256=digest.hexdigest(),
    )


def _text(path: Path, flag: str) -> str:
    if not path.is_file():
        raise ValueError(f"{flag} must name a file of JSON lines; there is none at {path}")
    return read_text(path, None)


def _examples(text: str, path: Path) -> Iterator[Example]:
    make: Callable[[_Line], Example] | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            row = _Line(f"{path}:{number}", line)
            make = make or row.form
            yield make(row)
    if make is None:
        raise ValueError(f"{path}: must hold at least one line of JSON; it is empty")


class _Line:
    """One line of the file; ``where`` names it in errors."""

    def __init__(self, where: str, text: str) -> None:
        self.where = where
        self._content = json_object(text, where=where)

    @property
    def form(self) -> Callable[["_Line"], Example]:
        """How this line, and all others of the file, are read."""
        keys = self._content.keys()
        if "prompt" in keys and "completion" in keys:
            return _completed
        if "text" in keys:
            return _labelled if "label" in keys else _plain
        raise ValueError(
            f"{self.where}: keys must be text, or text and label, or prompt and completion; "
            f"got {', '.join(keys) or 'none'}"
        )

    def word(self, key: str, *, kinds: tuple[type, ...] = (str,)) -> str:
        """The value of a key as text. Raises ``ValueError`` where it is missing or no text."""
        if key not in self._content:
            raise ValueError(f"{self.where}: key {key!r} is missing, and the first line has it")
        value = self._content[key]
        if not isinstance(value, kinds) or value == "":
            wanted = "text, or a whole number" if int in kinds else "text"
            raise ValueError(f"{self.where}: {key!r} must be {wanted}; got {_shown(value)}")
        if any(0xD800 <= ord(letter) < 0xE000 for letter in str(value)):
            raise ValueError(
                f"{self.where}: {key!r} must be text; half of a surrogate pair is no letter, "
                f"got {_shown(value)}"
            )
        return str(value)


def _plain(line: _Line) -> Example:
    return Example(completion=line.word("text"))


def _labelled(line: _Line) -> Example:
    label = line.word("label", kinds=(str, int))
    return Example(prompt=f"{line.word('text')}\nlabel:", completion=f" {label}")


def _completed(line: _Line) -> Example:
    return Example(prompt=line.word("prompt"), completion=line.word("completion"), ends=True)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _PREVIEW else text[:_PREVIEW] + "..."
