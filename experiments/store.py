"""Finished answers on disk, so that an interrupted sweep goes on where it stopped.

One line of JSON per answer, appended and flushed. A line counts only if it is whole and was made
by the same code and data; a torn last line is dropped.
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import zo2sim


@dataclass(slots=True)
class Store:
    """Answers by key, in the file ``path``."""

    path: Path
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Read what is there; lines of other code, and a torn end, are left out."""
        store = cls(path)
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            store._take(line)
        if text and not text.endswith("\n"):
            path.write_text(text + "\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        return store

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer, durably enough for a kill of this process."""
        self.answers[key] = answer
        line = json.dumps({"key": key, "code": code_version(), "answer": answer})
        with self.path.open("a") as file:
            file.write(f"{line}\n")

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            if entry["code"] == code_version():
                self.answers[entry["key"]] = entry["answer"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return  # torn by a kill: it is asked again


@lru_cache(maxsize=1)
def code_version() -> str:
    """16 hexadecimal digits over the sources and data that predictions depend on."""
    root = Path(zo2sim.__file__).parent
    digest = hashlib.sha256()
    here = [Path(__file__).with_name(name) for name in ("job.py", "records.py", "spec.py")]
    for path in (*sorted(root.rglob("*")), *here):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
