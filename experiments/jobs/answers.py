"""Finished answers on disk, so that an interrupted sweep goes on where it stopped.

One line of JSON per answer, appended and flushed. A line counts only if it is whole and was made
by the same code and data; a torn last line is dropped. Only where each answer stands is kept in
memory, about 0.2 kB per answer.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from experiments.folder.provenance import code_version

Answer = dict[str, Any]


class Answers(Mapping[str, Answer]):
    """Answers by key, in the file ``path``; a context manager, which closes the file."""

    def __init__(self, path: Path) -> None:
        """Find what is there; lines of other code, and a torn end, are left out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._places: dict[str, int] = {}
        self._file = path.open("a+b")
        self._file.seek(0)
        place, line = 0, b""
        for line in self._file:
            entry = _entry(line)
            if entry is not None:
                self._places[entry["key"]] = place
            place += len(line)
        if line and not line.endswith(b"\n"):
            self._file.write(b"\n")

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer, durably enough for a kill of this process."""
        line = json.dumps({"key": key, "code": code_version(), "answer": answer})
        self._file.seek(0, 2)
        self._places[key] = self._file.tell()
        self._file.write(f"{line}\n".encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file; what was added stays."""
        self._file.close()

    def __getitem__(self, key: str) -> Answer:
        self._file.seek(self._places[key])
        return json.loads(self._file.readline())["answer"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __enter__(self) -> "Answers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _entry(line: bytes) -> dict[str, Any] | None:
    """The line's key and answer; None where it is torn or of other code: it is asked again."""
    try:
        entry = json.loads(line)
        whole = isinstance(entry["key"], str) and isinstance(entry["answer"], dict)
        return entry if whole and entry["code"] == code_version() else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
