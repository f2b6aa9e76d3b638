"""Which tests run which lines of some modules, and how long each takes: recorded once."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import coverage
import pytest


class Recorder:
    """A plugin that writes what it saw when the tests end."""

    def __init__(self, modules: Sequence[str], target: str) -> None:
        self._modules, self._target = modules, Path(target)
        self._seconds: dict[str, float] = {}
        include = [str(Path(module).resolve()) for module in modules]
        self._coverage = coverage.Coverage(data_file=None, config_file=False, include=include)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        start_s = time.monotonic()
        result: Any = yield
        self._seconds[item.nodeid] = time.monotonic() - start_s
        return result

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {
            module: {
                str(line): [name for name in names if name in self._seconds]
                for line, names in data.contexts_by_lineno(str(Path(module).resolve())).items()
            }
            for module in self._modules
        }
        self._target.write_text(json.dumps({"seconds": self._seconds, "lines": lines}))


@dataclass(frozen=True, slots=True)
class Touched:
    """``lines`` maps the lines of every module to the tests that run them."""

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[str, Sequence[str]]]

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text()))

    def order(self, module: str, lines: range) -> dict[str, float]:
        """The tests that run a line, quick ones first, then the others of their files.

        All of them where nobody knows: what is compiled, or runs at import. Each with its seconds.
        """
        known = self.lines[module]
        first = {name for line in lines for name in known.get(str(line), ())}
        files = {_file(name) for name in first}
        rest = {name for name in self.seconds if not first or _file(name) in files} - first
        return {n: self.seconds[n] for part in (first, rest) for n in self._quick(part)}

    def _quick(self, names: set[str]) -> list[str]:
        return sorted(names, key=lambda name: (self.seconds[name], name))


def _file(name: str) -> str:
    return name.partition("::")[0]
