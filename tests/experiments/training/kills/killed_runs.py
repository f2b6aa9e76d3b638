"""Whole runs that are killed again and again, and what they tell in the end.

    python -m tests.experiments.training.kills 500

A run is started, killed at a random change of its folder or after a random time, resumed, killed
again, and at last left alone. All that it then holds and tells is that of one that nobody stopped.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Timer
from time import perf_counter
from typing import Any, Protocol

from experiments import run
from experiments.cli import run as command
from tests.experiments.training.undrawn import undraw
from tests.forked import server
from tests.tiny_causal import save

COMMON = (
    *("--steps", "8", "--eval-every", "3", "--save-every", "3", "--lr", "1e-3", "--batch", "2"),
    *("--sequence", "16", "--threads", "1", "--eval-examples", "2", "--no-report"),
)
CASES: Mapping[str, tuple[str, ...]] = {
    "dense": ("--weight-decay", "0.1", "--write-back-every", "2"),
    "nvme": ("--tier", "nvme", "--samples", "2"),
    "adapters": ("--trainable", "lora:2", "--clip", "0.5"),
    "sparse on nvme": ("--tier", "nvme", "--samples", "2", "--sparsity", "0.5"),
    "adapters on nvme": ("--tier", "nvme", "--trainable", "lora:2", "--clip", "0.5"),
}
KILLS_PER_RUN = 4
"""All but the first while it resumes."""

_CLOCK = {"wall_s", "exposed_s"}
_OF_THE_CALL = (
    *("step_s", "first_step_s", "tokens_per_s", "exposed_share"),
    *("predicted", "host_rss_bytes", "run_id"),
)
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
WRITES = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Death:
    """Before which change of its folder a process dies, or after how many seconds."""

    change: int | None = None
    seconds: float | None = None

    def await_in(self, folder: Path) -> None:
        if self.seconds is not None:
            timer = Timer(self.seconds, die)
            timer.daemon = True
            timer.start()
        if self.change is not None:
            sys.addaudithook(_Counter(str(folder), self.change))


@dataclass
class _Counter:
    """Counts what is opened for writing, renamed, removed and made in ``folder``."""

    folder: str
    left: int

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_change(event, arguments) and str(arguments[0]).startswith(self.folder):
            self.left -= 1
            if self.left < 0:
                die()

    def _is_change(self, event: str, arguments: tuple[Any, ...]) -> bool:
        return event in _CHANGES or (event == "open" and bool(arguments[2] & WRITES))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _child(flags: tuple[str, ...], out: Path, fate: "Fate") -> None:
    """What runs in a process of its own: the command, its screen in a file beside the folder."""
    with out.with_suffix(".log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        undraw()
        fate.await_in(out)
        sys.exit(command(run.main, run.Config, [*flags, "--out", str(out)]))


class Fate(Protocol):
    """What becomes of a process, and when."""

    def await_in(self, folder: Path) -> None: ...


def started(flags: tuple[str, ...], out: Path, fate: Fate) -> BaseProcess:
    process = server().Process(target=_child, args=(flags, out, fate))
    process.start()
    return process


def exit_code(flags: tuple[str, ...], out: Path, fate: Fate) -> int | None:
    process = started(flags, out, fate)
    process.join()
    return process.exitcode


def _ended(flags: tuple[str, ...], out: Path, death: Death) -> bool:
    """Whether it came to its end; False if it was killed. Anything else is an error."""
    code = exit_code(flags, out, death)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"exit code {code}:\n{out.with_suffix('.log').read_text()}")
    return code == 0


@dataclass
class Material:
    """A model and data in a folder, and what every case leaves behind when nobody stops it."""

    folder: Path
    _undisturbed: dict[str, "Undisturbed"] = field(default_factory=dict[str, "Undisturbed"])

    def __post_init__(self) -> None:
        rows = [{"text": f"{n}", "label": "even" if n % 2 == 0 else "odd"} for n in range(40)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / "data.jsonl").write_text(lines)
        save(self.folder / "model")

    def flags(self, case: str) -> tuple[str, ...]:
        model, data = self.folder / "model", self.folder / "data.jsonl"
        return ("--model", str(model), "--data", str(data), *COMMON, *CASES[case])

    def undisturbed(self, case: str) -> "Undisturbed":
        if case not in self._undisturbed:
            out = self.folder / f"whole {case}"
            start = perf_counter()
            assert _ended(self.flags(case), out, Death())
            self._undisturbed[case] = Undisturbed(left_in(out), perf_counter() - start)
        return self._undisturbed[case]


@dataclass(frozen=True)
class Undisturbed:
    left: Mapping[str, Any]
    took_s: float


def summary_in(out: Path) -> dict[str, Any]:
    """A run's summary, without what depends on the clock, or on the process."""
    summary = json.loads((out / "summary.json").read_text())
    return {k: v for k, v in summary.items() if k not in _OF_THE_CALL and "energy" not in k}


def left_in(out: Path) -> dict[str, Any]:
    """All that a run tells, clock and folder apart, and a digest of every file of its journal."""
    lines = [json.loads(line) for line in (out / "steps.jsonl").read_text().split("\n")[:-1]]
    return {
        "history": [{k: v for k, v in line.items() if k not in _CLOCK} for line in lines],
        "summary": summary_in(out),
        "journal": {
            str(path.relative_to(out)): sha256(path.read_bytes()).hexdigest()
            for path in sorted((out / "journal").rglob("*"))
            if path.is_file()
        },
    }


def killed_run(
    material: Material, case: str, out: Path, random: Random, most: int = KILLS_PER_RUN
) -> int:
    """Kill a run ``most`` times at most, let it end, and return how often it was killed.

    Raises ``AssertionError`` where it differs from one that nobody stopped.
    """
    whole = material.undisturbed(case)
    deaths = _deaths(random, whole.took_s)
    kills = 0
    while kills < most and not _ended(again(material, case, out), out, next(deaths)):
        kills += 1
    assert kills < most or _ended(again(material, case, out), out, Death())
    left = left_in(out)
    for what, wanted in whole.left.items():
        assert left[what] == wanted, f"{case}: {what} is not that of a run that nobody stopped"
    return kills


def again(material: Material, case: str, out: Path) -> tuple[str, ...]:
    """What a user types next: --resume as soon as there is something to resume."""
    begun = (out / "journal").exists()
    return ("--resume", "--no-report") if begun else material.flags(case)


def _deaths(random: Random, took_s: float) -> Iterator[Death]:
    while True:
        yield Death(change=random.randrange(120))
        yield Death(seconds=random.uniform(0.2, 0.8) * took_s)


def main(kills: int, seed: int = 0, tell: Callable[[str], None] = print) -> None:
    """Kill runs of all cases in turn until there were ``kills``."""
    random, done, count = Random(seed), 0, 0
    with TemporaryDirectory() as folder:
        material = Material(Path(folder))
        while done < kills:
            case = [*CASES][count % len(CASES)]
            out = Path(folder) / f"run {count}"
            done += killed_run(material, case, out, random)
            shutil.rmtree(out)
            count += 1
            tell(f"{done} kills in {count} runs, all of them ended as if nobody had")
