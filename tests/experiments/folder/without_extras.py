"""Runs commands in this process as where the packages of the extras are not installed.

python -m tests.experiments.folder.without_extras '["torch", "typst"]' '[["plan", "--model",
"opt-125m"]]'

Writes as JSON the exit code and the stderr of every command.
"""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder

from tests.commands import call


@dataclass(frozen=True, slots=True)
class Missing(MetaPathFinder):
    """Asked before all other finders, it finds nothing under these names."""

    names: Collection[str]

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def outcomes(commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    called = [call(import_module(f"experiments.{verb}"), *rest) for verb, *rest in commands]
    return [(one.code, one.err) for one in called]


def main(missing: str, commands: str) -> None:
    names = json.loads(missing)
    assert not set(names) & set(sys.modules), "imported before they could be hidden"
    sys.meta_path.insert(0, Missing(names))
    sys.stdout.write(json.dumps(outcomes(json.loads(commands))))


if __name__ == "__main__":
    main(*sys.argv[1:])
