"""Running a command in this process, as a user would: arguments in, exit code and output out."""

import contextlib
import io
import json
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from experiments.cli import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The whole of stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The only line on stderr, without its ``error: ``."""
        assert self.out == ""
        first, *others = self.err.splitlines()
        assert others == []
        assert first.startswith("error: ")
        return first.removeprefix("error: ")


def call(command: ModuleType, *arguments: str) -> Outcome:
    """Run a command; whatever it raises reaches the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command.main, command.Config, arguments)
    return Outcome(code=code, out=out.getvalue(), err=err.getvalue())
