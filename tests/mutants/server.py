"""A process that has imported what is slow, and runs tests in children of its own.

Its arguments are the modules to import. It reads a request a line, as JSON, and answers each with
the exit code of the child. Nothing of the project is imported here but this module, so a child
imports the project as its files are then.
"""

import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

_WAITED = 20
"""How much longer than on a processor a test may be there, where others are at work."""
LOG = "tests.log"
"""What the latest child said, in the folder in which the server runs."""
MOST_BYTES = 6 << 30
"""What a child may take: a wrong loop ends there, and not the machine."""


class Chosen:
    """A plugin: the tests of ``order`` alone, in this order, each with seconds of its own."""

    def __init__(self, order: Mapping[str, float]) -> None:
        self._places = {name: place for place, name in enumerate(order)}
        self._limits_s = order

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(known, key=lambda item: self._places[item.nodeid])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        limit_s = self._limits_s[item.nodeid]
        signal.setitimer(signal.ITIMER_PROF, limit_s)  # both of which end the process
        signal.alarm(int(_WAITED * limit_s) + 1)


def main() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    for line in sys.stdin:
        print(_outcome(json.loads(line)), flush=True)  # noqa: T201


def _outcome(request: Mapping[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        os.setsid()
        _run(request)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started
    return os.waitstatus_to_exitcode(status)


def _run(request: Mapping[str, Any]) -> None:
    """In the child: never returns."""
    code = 1
    try:
        sys.stdin.close()
        log = os.open(LOG, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for stream in (0, 1, 2):
            os.dup2(log, stream)
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        sys.dont_write_bytecode = bool(request["order"])  # of a mutant
        plugins: list[object] = [Chosen(request["order"])] if request["order"] else []
        if request["record"]:
            from tests.mutants.touched import Recorder

            plugins.append(Recorder(request["modules"], request["record"]))
        code = pytest.main(["-q", "--hypothesis-seed=0", *_ARGUMENTS, *request["tests"]], plugins)
    except BaseException:  # here, or the child would go on as a server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))


_ARGUMENTS = (
    *("-x", "-n", "0", "-p", "no:cacheprovider", "--no-header"),
    *("-W", "ignore:Module already imported so cannot be rewritten"),
)

if __name__ == "__main__":
    main()
