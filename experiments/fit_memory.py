"""Refit the CUDA context from published memory figures, and print every row with its errors.

    python -m experiments.fit_memory [--check] [--json FILE|-]

Without --check, writes zo2sim/data/memory_constants.toml; with it, writes nothing and exits 3
when the file does not hold the refitted constant or an error exceeds what the project promises.
"""

import sys
from dataclasses import dataclass
from decimal import Decimal
from itertools import starmap
from pathlib import Path

import zo2sim
from analysis.fits.memory import ContextFit, fit_context, published_rows
from experiments.cli import Answer, finish, run, write_file
from zo2sim import toml
from zo2sim.memory.account import load_constants

CONSTANTS = Path(zo2sim.__file__).parent / "data" / "memory_constants.toml"
COMMAND = "python -m experiments.fit_memory"
BOUNDS = {"zo2-allocated-memory-fp16": 0.07, "zo2-nvml-memory": 0.06, "mezo-memory-fp16": 0.06}
"""Largest relative error that is promised, in either reading of the published unit."""
PROCESS_BYTES = 4_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Refit the memory constants from published figures."""

    check: bool = False
    """Write nothing; exit 3 unless the constants on file and the promised errors hold."""
    json: str | None = None
    """A file for the result as JSON, or - for stdout instead of the table."""


def table(found: ContextFit) -> str:
    """Published, predicted, both errors and the error of each row when it is left out."""
    lines = [
        f"{'claim':26} {'model':9} {'published':>9} {'predicted':>9} "
        f"{'error':>7} {'as GiB':>7} {'left out':>8}"
    ]
    for row in records(found):
        lines.append(
            f"{row['claim']:26} {row['model']:9} {row['published']:9.2f} {row['predicted']:9.2f} "
            f"{row['error']:7.1%} {row['error_as_gib']:7.1%} {row['error_left_out']:8.1%}"
        )
    lines.append(
        f"1 fitted constant: context {found.context_bytes / 1e9:.3f} GB "
        f"(95 % {found.low_bytes / 1e9:.3f} to {found.high_bytes / 1e9:.3f}); "
        f"the allocated rows use none, the AdamW row is not fitted"
    )
    return "\n".join(lines)


def records(found: ContextFit) -> list[dict[str, str | float]]:
    """One record per row, in the published unit."""
    columns = zip(found.rows, found.errors, found.errors_gib, found.left_out_errors, strict=True)
    return [
        {
            "claim": row.claim,
            "model": row.model,
            "published": row.published,
            "predicted": row.predicted_bytes(found.context_bytes) / row.unit_bytes,
            "error": error,
            "error_as_gib": as_gib,
            "error_left_out": left_out,
        }
        for row, error, as_gib, left_out in columns
    ]


def document(found: ContextFit) -> dict[str, object]:
    """The machine-readable result."""
    return {
        "command": COMMAND,
        "context_bytes": found.context_bytes,
        "context_low_bytes": found.low_bytes,
        "context_high_bytes": found.high_bytes,
        "rows": records(found),
    }


def constants_toml(found: ContextFit) -> str:
    """The text of the constants file."""
    left_out = zip(found.rows, found.left_out_errors, strict=True)
    fitted = {f"{row.claim} {row.model}": error for row, error in left_out if row.fitted}
    tables = {
        "context": {
            "bytes": found.context_bytes,
            "low_bytes": found.low_bytes,
            "high_bytes": found.high_bytes,
            "provenance": "fitted",
            "source": "zo2-nvml-memory and mezo-memory-fp16 of published.toml, least squares of "
            "the relative errors, 95 % interval; everything that NVML sees outside the segments",
        },
        "context.left_out_errors": {k: Decimal(f"{error:.4f}") for k, error in fitted.items()},
        "process": {
            "bytes": PROCESS_BYTES,
            "provenance": "assumed",
            "source": "host memory of a process with PyTorch, CUDA libraries and a context; "
            "not measured",
        },
    }
    heading = f"# Written by `{COMMAND}`; edit the command, not this file."
    return "\n\n".join([heading, *starmap(toml.table, tables.items())]) + "\n"


def complaints(found: ContextFit) -> list[str]:
    """What does not hold: the constant on file, and the promised errors."""
    known = load_constants().context_bytes
    wrong: list[str] = []
    if known != found.context_bytes:
        wrong.append(f"{CONSTANTS.name} must hold {found.context_bytes}; it holds {known}: refit")
    for record in records(found):
        bound = BOUNDS.get(str(record["claim"]), 1.0)
        worst = max(abs(float(record[key])) for key in ("error", "error_as_gib"))
        if worst > bound:
            wrong.append(f"{record['claim']} {record['model']}: {worst:.1%} exceeds {bound:.0%}")
    return wrong


def main(config: Config) -> int:
    """Exit code: 0 done, 3 the check failed."""
    found = fit_context(published_rows())
    if not config.check:
        write_file(CONSTANTS, constants_toml(found).encode())
    answer = Answer(
        document(found),
        lambda: print(table(found)),
        complaints=complaints(found) if config.check else (),
    )
    return finish(answer, config.json)


if __name__ == "__main__":
    sys.exit(run(main, Config))
