"""Refit kernel times from the measured tables, and print the errors on what the fits never saw.

    python -m experiments.fit_kernels [--check] [--tables DIR] [--json FILE|-]
    python -m experiments.fit_kernels --check --device l40s-48gb

Refits every device and its class, holds out shapes and devices, and writes
zo2sim/data/kernels/*.json: about two minutes. With --check it writes nothing, and exits 3 when a
file is not what the refit gives or an error exceeds what the project promises.

With --check and --device it refits that device alone (seconds; "turn" takes another one every
day), and holds out nothing: of the other files it checks that they were fitted to the tables as
they are, and of all of them that the errors stored keep the promises.
"""

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import analysis
import zo2sim
from analysis.fits.kernels.file import FittedKernel, digest, file_text, fit_kernel
from analysis.fits.kernels.table import LAYERS_GPU, KernelTable, all_attention, all_gemm
from analysis.fits.kernels.validation import (
    device_log_errors,
    fit_class,
    hold_outs,
    pooled,
    shape_log_errors,
)
from experiments.cli import Answer, finish, run, write_file
from zo2sim.checks import check_choice
from zo2sim.cost.kernels import table_model
from zo2sim.cost.kernels.model import HoldOut
from zo2sim.cost.kernels.roofline import Array
from zo2sim.cost.kernels.tables import CLASS
from zo2sim.machines.machine import KERNEL_TABLES

TABLES = Path(analysis.__file__).parent / "data" / "gpu_kernels"
FILES = Path(zo2sim.__file__).parent / "data" / "kernels"
COMMAND = "python -m experiments.fit_kernels"
BOUNDS = {
    ("gemm", "main"): 0.04,
    ("attention", "all"): 0.04,
}
"""Promised median error by region, on shapes held out, of every device with a table: without the
device's level."""
CLASS_BOUNDS = {
    ("gemm", "main"): 0.10,
    ("gemm", "all"): 0.11,
    ("attention", "all"): 0.14,
}
"""The same on devices held out, over all of them."""
TURN = "turn"
_ROUNDED = 3
"""Steps of a correction, each 0.1 %, by which refits on several processors were seen to differ, and
one more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Refit kernel times from measured tables."""

    check: bool = False
    """Write nothing; exit 3 unless the files on disk and the promised errors hold."""
    device: str | None = None
    """With --check: the one device to refit, or "turn" for today's; without it, all of them."""
    tables: Path = TABLES
    """Folder with gemm_bf16*.csv, attention_prefill_bf16*.csv and the layers of an RTX 4090."""
    json: str | None = None
    """A file for the errors as JSON, or - for stdout instead of the table."""

    def __post_init__(self) -> None:
        if self.device is not None:
            if not self.check:
                raise ValueError("--device must come with --check; files are written all at once")
            check_choice("--device", self.device, (*REFITTED, TURN))


REFITTED = tuple(gpu for gpu in KERNEL_TABLES if gpu != LAYERS_GPU)
"""Devices that can be refitted alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """One kind of kernel: its class's roofline, and log errors per device, by shapes and by
    devices held out."""

    tables: Sequence[KernelTable]
    of_class: Any
    by_shape: Mapping[str, Array]
    by_device: Mapping[str, Array]

    @classmethod
    def of(cls, tables: Sequence[KernelTable]) -> "Errors":
        of_class = fit_class(tables)
        by_shape = {t.gpu: shape_log_errors(t, of_class if t.few else None) for t in tables}
        return cls(
            tables=tables,
            of_class=of_class,
            by_shape=by_shape,
            by_device=device_log_errors(tables),
        )

    def summaries(self) -> dict[tuple[str, str], dict[str, HoldOut]]:
        """By (what was held out, device or ``pooled``), then by region."""
        found: dict[tuple[str, str], dict[str, HoldOut]] = {}
        for held_out, errors in (("shapes", self.by_shape), ("device", self.by_device)):
            for table in self.tables:
                found[held_out, table.gpu] = hold_outs(table, errors[table.gpu])
            found[held_out, "pooled"] = pooled(self.tables, errors)
        return found

    @property
    def class_kernel(self) -> FittedKernel:
        """The roofline of all devices; its errors are those on a device left out."""
        return FittedKernel(self.of_class, None, pooled(self.tables, self.by_device))

    def kernel(self, gpu: str) -> FittedKernel:
        """The fit to one device's table; its class's where it has none."""
        for table in self.tables:
            if table.gpu == gpu:
                return fit_kernel(table, hold_outs(table, self.by_shape[gpu]), self.of_class)
        return self.class_kernel


def records(errors: Mapping[str, Errors]) -> list[dict[str, str | float]]:
    """One record per kind of kernel, held-out thing, device and region."""
    return [
        {"kernel": kind, "held_out": held_out, "device": device, "region": region, **asdict(e)}
        for kind, found in errors.items()
        for (held_out, device), regions in found.summaries().items()
        for region, e in regions.items()
    ]


def table(rows: Sequence[Mapping[str, str | float]]) -> str:
    """The records as text; the last two columns are errors without the device's level."""
    lines = [
        f"{'kernel':9} {'held out':8} {'device':17} {'region':6} {'rows':>5} {'median':>7} "
        f"{'p90':>7} {'sigma':>7} {'level':>7} {'shape':>7} {'p90':>7}"
    ]
    for row in rows:
        lines.append(
            f"{row['kernel']:9} {row['held_out']:8} {row['device']:17} {row['region']:6} "
            f"{row['count']:5} {row['median']:7.1%} {row['p90']:7.1%} {row['log_sigma']:7.3f} "
            f"{row['level']:+7.3f} {row['shape_median']:7.1%} {row['shape_p90']:7.1%}"
        )
    return "\n".join(lines)


def data_files(errors: Mapping[str, Errors], inputs: str) -> dict[str, str]:
    """Text of every data file, by name; ``inputs`` is the digest of the tables."""
    gemm, attention = errors["gemm"], errors["attention"]
    kernels = gemm.class_kernel, attention.class_kernel
    texts = {CLASS: file_text(CLASS, inputs, None, *kernels)}
    for one in gemm.tables:
        kernels = gemm.kernel(one.gpu), attention.kernel(one.gpu)
        texts[one.gpu] = file_text(one.gpu, inputs, one.rates, *kernels)
    return texts


def refitted(gpu: str, folder: Path) -> str:
    """Text of one device's data file, with the errors that the file on disk states."""
    stored = table_model(gpu)
    (gemm,) = (table for table in all_gemm(folder) if table.gpu == gpu)
    (attention,) = (table for table in all_attention(folder) if table.gpu == gpu)
    kernels = (
        fit_kernel(gemm, stored.gemm.errors),
        fit_kernel(attention, stored.attention.errors),
    )
    return file_text(gpu, digest(folder), gemm.rates, *kernels)


def changed(texts: Mapping[str, str]) -> list[str]:
    """Files on disk that are not what the refit gives, whatever the processor that refitted."""
    return [
        f"{name}.json must be what the refit gives; run `{COMMAND}`"
        for name, text in texts.items()
        if not (FILES / f"{name}.json").is_file() or not _alike(_stored(name), json.loads(text))
    ]


def _alike(stored: Any, refitted: Any) -> bool:
    """Equal, but for steps by which processors round a correction differently."""
    steps, others = _corrections(stored), _corrections(refitted)
    if stored != refitted or steps.shape != others.shape:
        return False
    return bool(np.all(np.abs(steps - others) <= _ROUNDED))


def _corrections(content: Any) -> Array:
    """Taken out of a file's content: every value of its corrections, in steps of `VALUE_UNIT`."""
    residuals = (content[kind]["residual"] for kind in ("gemm", "attention"))
    planes = [plane for own in residuals if own is not None for plane in own.pop("values")]
    return np.array(" ".join(planes).split(), dtype=np.float64)


def outdated(inputs: str) -> list[str]:
    """Files on disk that were fitted to other tables."""
    return [
        f"{name}.json must be fitted to the tables as they are; run `{COMMAND}`"
        for name in (CLASS, *KERNEL_TABLES)
        if _stored(name)["inputs"] != inputs
    ]


def broken_promises() -> list[str]:
    """Errors that the files on disk state and the project does not promise."""
    wrong: list[str] = []
    for name in (CLASS, *REFITTED):
        content = _stored(name)
        for (kind, region), bound in (CLASS_BOUNDS if name == CLASS else BOUNDS).items():
            found = content[kind]["errors"][region]["shape_median"]
            if found > bound:
                wrong.append(
                    f"{name}, {kind} {region}: the median error without the device's level must "
                    f"be at most {bound:.0%}; it is {found:.1%}"
                )
    return wrong


def stored_rows() -> list[dict[str, str | float]]:
    """The records that the files on disk hold."""
    return [
        {
            "kernel": kind,
            "held_out": "device" if name == CLASS else "shapes",
            "device": "pooled" if name == CLASS else name,
            "region": region,
            **errors,
        }
        for kind in ("gemm", "attention")
        for name in (*KERNEL_TABLES, CLASS)
        for region, errors in _stored(name)[kind]["errors"].items()
    ]


def _stored(name: str) -> dict[str, Any]:
    return json.loads((FILES / f"{name}.json").read_text("utf-8"))


def todays_turn(day: datetime.date) -> str:
    """The device that is refitted on a day."""
    return REFITTED[day.toordinal() % len(REFITTED)]


def check_one(config: Config) -> int:
    """Refit one device; exit code 0 done, 3 the check failed."""
    device = config.device
    if device is None or device == TURN:
        device = todays_turn(datetime.datetime.now(datetime.UTC).date())
    texts, inputs = {device: refitted(device, config.tables)}, digest(config.tables)
    rows = stored_rows()
    answer = Answer(
        {"command": COMMAND, "refitted": device, "rows": rows},
        lambda: print(f"{table(rows)}\nas stored; refitted: {device}"),
        complaints=(*changed(texts), *outdated(inputs), *broken_promises()),
    )
    return finish(answer, config.json)


def main(config: Config) -> int:
    """Exit code: 0 done, 3 the check failed."""
    if config.device is not None:
        return check_one(config)
    errors = {
        "gemm": Errors.of(all_gemm(config.tables)),
        "attention": Errors.of(all_attention(config.tables)),
    }
    texts, rows = data_files(errors, digest(config.tables)), records(errors)
    if not config.check:
        for name, text in texts.items():
            write_file(FILES / f"{name}.json", text.encode())
    answer = Answer(
        {"command": COMMAND, "rows": rows},
        lambda: print(table(rows)),
        complaints=(*changed(texts), *broken_promises()) if config.check else (),
    )
    return finish(answer, config.json)


if __name__ == "__main__":
    sys.exit(run(main, Config))
