"""Refit kernel times from the measured tables, and print the errors on what the fits never saw.

    python -m experiments.fit_kernels [--check] [--tables DIR] [--json FILE|-]

Without --check, writes zo2sim/data/kernels/*.json; with it, writes nothing and exits 3 when a file
is not what the refit gives or an error exceeds what the project promises. Takes about a minute.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import analysis
import zo2sim
from analysis.fits.kernels.file import FittedKernel, file_text, fit_kernel
from analysis.fits.kernels.fit import fit_roofline
from analysis.fits.kernels.table import KernelTable, read_attention, read_gemm
from analysis.fits.kernels.validation import device_log_errors, hold_outs, pooled, shape_log_errors
from experiments.cli import Answer, finish, run, write_file
from zo2sim.cost.kernels.model import HoldOut
from zo2sim.cost.kernels.roofline import Array
from zo2sim.cost.kernels.tables import CLASS

TABLES = Path(analysis.__file__).parent / "data" / "gpu_kernels"
FILES = Path(zo2sim.__file__).parent / "data" / "kernels"
COMMAND = "python -m experiments.fit_kernels"
BOUNDS = {
    ("gemm", "main"): (0.06, 0.20),
    ("gemm", "large"): (0.10, 0.25),
    ("attention", "all"): (0.03, 0.10),
}
"""Promised median and 90th percentile of the relative error, over all devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Refit kernel times from measured tables."""

    check: bool = False
    """Write nothing; exit 3 unless the files on disk and the promised errors hold."""
    tables: Path = TABLES
    """Folder with gemm_bf16.csv and attention_prefill_bf16.csv."""
    json: str | None = None
    """A file for the errors as JSON, or - for stdout instead of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Log errors of one kind of kernel, per device: by shapes, and by devices, held out."""

    tables: Sequence[KernelTable]
    by_shape: Mapping[str, Array]
    by_device: Mapping[str, Array]

    @classmethod
    def of(cls, tables: Sequence[KernelTable]) -> "Errors":
        by_shape = {table.gpu: shape_log_errors(table) for table in tables}
        return cls(tables=tables, by_shape=by_shape, by_device=device_log_errors(tables))

    def summaries(self) -> dict[tuple[str, str], dict[str, HoldOut]]:
        """By (what was held out, device or ``pooled``), then by region."""
        found: dict[tuple[str, str], dict[str, HoldOut]] = {}
        for held_out, errors in (("shapes", self.by_shape), ("device", self.by_device)):
            for table in self.tables:
                found[held_out, table.gpu] = hold_outs(table, errors[table.gpu])
            found[held_out, "pooled"] = pooled(self.tables, errors)
        return found


def records(errors: Mapping[str, Errors]) -> list[dict[str, str | float]]:
    """One record per kind of kernel, held-out thing, device and region."""
    return [
        {"kernel": kind, "held_out": held_out, "device": device, "region": region, **asdict(e)}
        for kind, found in errors.items()
        for (held_out, device), regions in found.summaries().items()
        for region, e in regions.items()
    ]


def table(rows: Sequence[Mapping[str, str | float]]) -> str:
    """The records as text."""
    lines = [
        f"{'kernel':9} {'held out':8} {'device':14} {'region':6} {'rows':>5} "
        f"{'median':>7} {'p90':>7} {'sigma':>7}"
    ]
    for row in rows:
        lines.append(
            f"{row['kernel']:9} {row['held_out']:8} {row['device']:14} {row['region']:6} "
            f"{row['count']:5} {row['median']:7.1%} {row['p90']:7.1%} {row['log_sigma']:7.3f}"
        )
    return "\n".join(lines)


def data_files(errors: Mapping[str, Errors]) -> dict[str, str]:
    """Text of every data file, by name."""
    gemm, attention = errors["gemm"], errors["attention"]
    texts = {CLASS: file_text(CLASS, None, class_kernel(gemm), class_kernel(attention))}
    for one, other in zip(gemm.tables, attention.tables, strict=True):
        kernels = (device_kernel(one, gemm), device_kernel(other, attention))
        texts[one.gpu] = file_text(one.gpu, one.rates, *kernels)
    return texts


def device_kernel(table: KernelTable, errors: Errors) -> FittedKernel:
    """The fit to one device's table."""
    return fit_kernel(table, hold_outs(table, errors.by_shape[table.gpu]))


def class_kernel(errors: Errors) -> FittedKernel:
    """The roofline of all devices; its errors are those on a device left out."""
    return FittedKernel(fit_roofline(errors.tables), None, pooled(errors.tables, errors.by_device))


def complaints(errors: Mapping[str, Errors], texts: Mapping[str, str]) -> list[str]:
    """What does not hold: the files on disk, and the promised errors."""
    wrong = [
        f"{name}.json must be what the refit gives; run `{COMMAND}`"
        for name, text in texts.items()
        if not (FILES / f"{name}.json").is_file() or (FILES / f"{name}.json").read_text() != text
    ]
    for (kind, region), (median, p90) in BOUNDS.items():
        found = errors[kind].summaries()["shapes", "pooled"][region]
        if found.median > median or found.p90 > p90:
            wrong.append(
                f"{kind} {region}: errors must be at most {median:.0%} and {p90:.0%} "
                f"(median, p90); they are {found.median:.1%} and {found.p90:.1%}"
            )
    return wrong


def main(config: Config) -> int:
    """Exit code: 0 done, 3 the check failed."""
    errors = {
        "gemm": Errors.of(read_gemm(config.tables / "gemm_bf16.csv")),
        "attention": Errors.of(read_attention(config.tables / "attention_prefill_bf16.csv")),
    }
    texts, rows = data_files(errors), records(errors)
    if not config.check:
        for name, text in texts.items():
            write_file(FILES / f"{name}.json", text.encode())
    answer = Answer(
        {"command": COMMAND, "rows": rows},
        lambda: print(table(rows)),
        complaints=complaints(errors, texts) if config.check else (),
    )
    return finish(answer, config.json)


if __name__ == "__main__":
    sys.exit(run(main, Config))
