"""Whether the tests of a copy of the tree notice a mutant."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests import ROOT
from tests.mutants import server
from tests.mutants.changes import Mutant
from tests.mutants.core_modules import EQUIVALENT, Group
from tests.mutants.touched import Touched

SLOW = (
    *("torch", "transformers.modeling_utils", "numba", "scipy.optimize", "safetensors"),
    *("pandas", "pyarrow", "matplotlib.pyplot", "rich.table", "hypothesis"),
)
_SLOWER, _STARTED_S = 4.0, 60.0
"""Processor time that a test may take: so many times its own seconds, and more to begin with, for
a module whose functions are compiled is compiled anew."""
_LATE = (-signal.SIGPROF, -signal.SIGALRM)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_TOLD = 3000


def copied(target: Path) -> Path:
    """What git tracks, as it is now, in a folder of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


class Trials:
    """Tests in a copy of the tree, in one process after the other, which one server starts."""

    def __init__(self, tree: Path, imported: Sequence[str] = SLOW) -> None:
        """``imported`` are modules of others that take long to import, which is done once."""
        self._tree = tree
        self._number = 0
        command = ["nice", "-n", "10", sys.executable, "-m", server.__name__, *imported]
        places = os.pathsep.join((str(tree), str(ROOT)))  # the copy has whatever is tracked
        environment = os.environ | {"PYTHONPATH": places, "CI": "1", **_ONE_THREAD}
        self._server = subprocess.Popen(
            command,
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def touched(self, group: Group) -> Touched:
        """What the tests of a group run. Raises ``ValueError`` where they do not pass."""
        record = self._tree / "touched.json"
        code = self._run(group.tests, modules=group.modules, record=str(record))
        if code != 0:
            said = (self._tree / server.LOG).read_text(errors="replace")[-_TOLD:]
            raise ValueError(f"the tests must pass unchanged; pytest ends with {code}:\n{said}")
        return Touched.read(record)

    def outcome(self, mutant: Mutant, touched: Touched) -> str:
        """``killed``, ``survived``, ``timed out``, or ``equivalent``, of which none is run.

        The copy is as it was afterwards.
        """
        if mutant.said in EQUIVALENT:
            return "equivalent"
        path = self._tree / mutant.module
        original, stat = path.read_text(), path.stat()
        order = touched.order(mutant.module, mutant.lines)
        limits_s = {name: _SLOWER * took_s + _STARTED_S for name, took_s in order.items()}
        files = dict.fromkeys(name.partition("::")[0] for name in order)
        self._number += 1
        try:
            path.write_text(mutant.text)
            # A time of its own: what was compiled of another text is then nobody's.
            os.utime(path, (stat.st_atime, time.time() + 2 * self._number))
            code = self._run([*files], order=limits_s)
        finally:
            path.write_text(original)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return "timed out" if code in _LATE else "killed" if code else "survived"

    def _run(self, tests: Sequence[str], **more: Any) -> int:
        request = {"tests": tests, "order": {}, "record": None, "modules": [], **more}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"{server.__name__} ended with {self._server.wait()}")
        return int(answer)
