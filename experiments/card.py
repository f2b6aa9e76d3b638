"""Measure a CUDA card in minutes: its constants, then predictions made before they are measured.

python -m experiments.card
python -m experiments.card --out runs/card --minutes 4 --wheels ../wheels
python -m experiments.card --out runs/rehearsal --backend host --minutes 2
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from experiments.day.wheels import add_wheels, missing

_STARTED_S = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Config:
    """Measure a card: links, products, kernels, contracts, then eight configurations predicted
    before they run. What was measured is on disk after every part."""

    out: Path | None = None
    """The folder of results, a new one: machine.toml, table.txt, summary.txt, validation/ and
    more. By default one in runs/ that is named after the time."""
    minutes: float = 8.0
    """The budget of time. What there is no time for is skipped, and said to be."""
    backend: Literal["cuda", "host"] = "cuda"
    """What computes; with host a rehearsal on the CPU, in small sizes, that tells no card."""
    wheels: Path | None = None
    """A folder with the wheels of packages that are not installed; no network is needed."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.minutes <= 120.0:
            raise ValueError(f"--minutes must be from 0.05 to 120; got {self.minutes}")


def main(config: Config, *, start_s: float | None = None) -> int:
    """``start_s`` is when the budget began, on the monotonic clock; None: now."""
    from experiments.day.day import Day, scale_of
    from experiments.day.parts import run_parts
    from experiments.day.sizes import CARD, REHEARSAL
    from zo2rt.backends.process import intra_op_threads

    start_s = time.monotonic() if start_s is None else start_s
    sizes = CARD if config.backend == "cuda" else REHEARSAL
    out = config.out or Path(f"runs/card-{datetime.now():%Y%m%d-%H%M%S}")
    day = Day.of(out, config.backend, sizes, scale_of(config.minutes))

    def tell(outcomes: Sequence[Any]) -> None:
        day.tell(outcomes)
        print(outcomes[-1].line, file=sys.stderr, flush=True)

    with intra_op_threads(1):  # where the processor computes; a card does not mind
        outcomes = run_parts(day.parts, 60.0 * config.minutes, start_s, tell)
    table = out / "table.txt"
    print(table.read_text(encoding="utf-8") if table.is_file() else "nothing was predicted")
    print(_told(config.backend, out))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _told(backend: str, out: Path) -> str:
    """Where it all is, and what it is good for."""
    if backend == "host":
        good_for = "a rehearsal: it shows that every part works; its errors are of no card"
    else:
        good_for = f"plan with it: zo2sim plan opt-13b --machine {out / 'machine.toml'}"
    return f"results: {out}\n{good_for}"


def _entry() -> int:
    """Wheels first: parsing flags needs a package itself."""
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--wheels", type=Path)
    given, _ = early.parse_known_args()
    try:
        if given.wheels is not None:
            add_wheels(given.wheels)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if missing():
        print(
            f"error: the packages {', '.join(missing())} must be installed; or give a folder with "
            "their wheels: --wheels DIR (pip download NAME -d DIR, where there is a network)",
            file=sys.stderr,
        )
        return 2
    from functools import partial

    from experiments.cli import run

    return run(partial(main, start_s=_STARTED_S), Config)


if __name__ == "__main__":
    sys.exit(_entry())
