"""Loads and saves a model of some gigabytes in every format and tier, each in its own process.

    python -m tests.zo2rt.memory.run_large_loads FOLDER 4.8 [--confined] [FORMAT,TIER...]

Prints what each took beside the account, the largest shard and 300 MB, and ends with 1 where one of
them took more; confined, the kernel gives no more, and kills what needs it. The folder needs about
four times the model's size on disk, and keeps the model.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.zo2rt.memory import run_loading
from tests.zo2rt.memory.run_loading import FORMATS, write

HIDDEN = 2048
BLOCK_BYTES = 2 * 16 * HIDDEN**2
SLACK_BYTES = 300_000_000
TIERS = ("ram", "nvme")


def main(folder: Path, gigabytes: float, *wanted: str, confined: bool) -> int:
    model = folder / "model"
    if not model.exists():
        write(model, HIDDEN, round(gigabytes * 1e9 / BLOCK_BYTES))
    cases = [(tier, form) for form in FORMATS for tier in TIERS]
    chosen = [(tier, form) for tier, form in cases if not wanted or f"{form},{tier}" in wanted]
    within = [took(model, folder / "run", tier, form, confined) for tier, form in chosen]
    return 0 if all(within) else 1


def took(model: Path, run: Path, tier: str, form: str, confined: bool) -> bool:
    shutil.rmtree(run, ignore_errors=True)
    words = [sys.executable, "-m", run_loading.__name__, str(model), str(run), tier, form]
    words += [str(SLACK_BYTES)] if confined else []
    found = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    shutil.rmtree(run)
    most = found["account"] + found["shard"] + SLACK_BYTES
    names = ("weights", "account", "shard", "loading", "saving")
    told = ", ".join(f"{name} {found[name] / 1e6:,.0f} MB" for name in names)
    within = max(found["loading"], found["saving"]) <= most
    sys.stdout.write(
        f"{form}, {tier}: {told}, read {found['percent_read'] / 100:.2f} times; at most "
        f"{most / 1e6:,.0f} MB: {'yes' if within else 'NO'}"
        f"{' (confined, full {times_full:,} times)'.format_map(found) if confined else ''}\n"
    )
    sys.stdout.flush()
    return within


if __name__ == "__main__":
    place, size, *words = sys.argv[1:]
    cases = [word for word in words if word != "--confined"]
    sys.exit(main(Path(place), float(size), *cases, confined="--confined" in words))
