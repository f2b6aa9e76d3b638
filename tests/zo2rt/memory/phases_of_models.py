"""What every phase of a run takes of memory, beside the account, for six models on both tiers.

    python -m tests.zo2rt.memory.phases_of_models            # all of them: five minutes
    python -m tests.zo2rt.memory.phases_of_models gpt2 t5

Each is a process of its own, whose private and shared memory is looked at every 2 ms; pages of
files are none of it. What libraries take once is left out on both sides: a tiny model of the same
kind has run before. Prints MiB, and fails where a phase takes more than the account and 3 %.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.forked import apart
from tests.zo2rt.memory.models import KINDS, smaller
from tests.zo2rt.memory.run_phases import phases
from zo2sim.memory.account import MIB, SHARD_BYTES

TIERS = ("ram", "nvme")
MOST = 1.03
"""Of the account."""
_ON_DISK = Path("runs")
"""What a system keeps its temporary files in may be memory."""
_PHASES = ("loading", "training", "evaluation", "snapshot", "save", "close", "resume")
_COLUMNS = ("weights", "account", *_PHASES)


def measured(kind: str, tier: str, folder: str, *, small: bool = False) -> dict[str, int]:
    """Bytes by phase, and of the account and the weights.

    Those of a ``small`` one are in files so small that any phase which holds them all is above it.
    """
    size, shard_bytes = KINDS[kind][1], SHARD_BYTES
    if small:
        size, shard_bytes = smaller(size), SHARD_BYTES // 8
    return apart(phases, kind, size, tier, Path(folder), shard_bytes)


def above(found: Mapping[str, int]) -> list[str]:
    """The phases that take more than they may."""
    return [phase for phase in _PHASES if found[phase] > MOST * found["account"]]


def main(kinds: Sequence[str]) -> int:
    _say("", *_COLUMNS, "most/account")
    _ON_DISK.mkdir(exist_ok=True)
    wrong = 0
    for kind in kinds or KINDS:
        for tier in TIERS:
            with TemporaryDirectory(dir=_ON_DISK) as folder:
                found = measured(kind, tier, folder)
            most = max(found[phase] for phase in _PHASES) / found["account"]
            sizes = (f"{found[column] / MIB:.0f}" for column in _COLUMNS)
            _say(f"{kind} {tier}", *sizes, f"{most:.2f}", *above(found))
            wrong += len(above(found))
    return int(wrong > 0)


def _say(name: str, *cells: str) -> None:
    sys.stdout.write(f"{name:13}" + "".join(f"{cell:>11}" for cell in cells) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
