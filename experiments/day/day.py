"""A card's day: its parts in order of value, each with what it leaves on disk."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import psutil
import torch

from analysis.fits.card import CardRoom, base_machine, on_card
from analysis.fits.machine import HostSpecs
from experiments.campaign.benchmarks import Campaign
from experiments.campaign.card import CardCampaign, PartName, card_room, open_card
from experiments.cli import write_file
from experiments.day.configurations import LARGE, designs, large_bytes
from experiments.day.identity import identity
from experiments.day.notebook import Notebook
from experiments.day.parts import WHOLE_S, Deadline, Outcome, Part
from experiments.day.runs import Runs
from experiments.day.sizes import Sizes
from experiments.folder.provenance import commit
from zo2rt.backends import Backend, HostBackend
from zo2rt.measure.card import read_card
from zo2rt.measure.device_kernels import LARGE as GEMM
from zo2rt.measure.device_kernels import LARGE_FP32 as FP32_GEMM
from zo2rt.measure.sustained import LargeProduct
from zo2rt.memory.room import free_host_bytes
from zo2rt.sampling.card import current_card
from zo2rt.sampling.nvml import open_nvml
from zo2rt.sampling.sampler import Sampler
from zo2sim.cost.measured import Measured
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import Machine

BackendName = Literal["cuda", "host"]

MEASURING: dict[str, tuple[float, tuple[PartName, ...]]] = {
    "links": (30.0, ("link",)),
    "kernels by shape": (45.0, ("products",)),
    "passes and noise": (35.0, ("moves", "noise")),
    "launches": (10.0, ("launches",)),
    "host": (15.0, ("host", "files")),
}
"""Parts of `CardCampaign`, and the most seconds that they may take of a whole day."""
CONFIGURATIONS = (
    *("resident", "zo2, compute-bound", "zo2, link-bound", "zo2, write-back every 4"),
    *("zo2, pageable", "zo2, LoRA", "zo2, fp32", LARGE),
)
_RUN_S, _LARGE_S = 20.0, 60.0
_LAST_S = 20.0
_SAMPLED_EVERY_S = 0.2
_SETTLED = 1.0 / 3.0
"""Share of the load at whose end clocks are taken to have settled."""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Everything that parts share. ``scale`` is the budget over that of a whole day."""

    folder: Path
    backend: BackendName
    sizes: Sizes
    scale: float
    make: Callable[[], Backend]
    notebook: Notebook
    runs: Runs

    @classmethod
    def of(cls, folder: Path, backend: BackendName, sizes: Sizes, scale: float) -> "Day":
        """Raises ``ValueError``, with nothing written, where there is no card."""
        make = open_card if backend == "cuda" else partial(HostBackend, own_core=True)
        make().close()
        source = f"python -m experiments.card, {date.today()}, commit {commit()}"
        notebook = Notebook(folder, _base(backend, folder, source), source)
        return cls(
            folder=folder,
            backend=backend,
            sizes=sizes,
            scale=scale,
            make=make,
            notebook=notebook,
            runs=Runs(folder, make),
        )

    @property
    def parts(self) -> list[Part]:
        """In order of value."""
        first, *others = (
            Part(name=name, most_s=most_s, run=partial(self._measure, names))
            for name, (most_s, names) in MEASURING.items()
        )
        runs = (
            Part(
                name=f"run: {name}",
                most_s=_LARGE_S if name == LARGE else _RUN_S,
                run=lambda deadline, name=name: self._freed(self.runs.measure, name, deadline),
            )
            for name in CONFIGURATIONS
        )
        return [
            Part(name="identity", most_s=10.0, run=self._identity),
            first,
            Part(name="sustained products", most_s=45.0, run=self._sustained),
            *others,
            Part(name="parity and contracts", most_s=55.0, run=self._tests),
            Part(name="predictions", most_s=15.0, run=self._predict),
            *runs,
            Part(name="validation", most_s=_LAST_S, run=self._finish, kept_s=_LAST_S),
        ]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """``summary.json`` and ``summary.txt``: what has become of every part so far."""
        content = {
            "schema": 1,
            "backend": self.backend,
            "source": self.notebook.source,
            "parts": [asdict(outcome) for outcome in outcomes],
            "constants_refused": self.notebook.refused,
        }
        write_file(self.folder / "summary.json", json.dumps(content, indent=1).encode())
        lines = [outcome.line for outcome in outcomes]
        write_file(self.folder / "summary.txt", ("\n".join(lines) + "\n").encode())

    def _identity(self, deadline: Deadline) -> str:
        found = identity()
        self._write("identity.json", found)
        return f"{self.notebook.base.device.name}, torch {torch.__version__}"

    def _measure(self, names: Sequence[PartName], deadline: Deadline) -> str:
        campaign = Campaign(effort=self.sizes.effort, seed=0, folder=self.folder)
        card = CardCampaign(
            campaign=campaign,
            machine=self.notebook.base,
            sizes=self.sizes.kernels,
            only=names,
            copy_sizes=self.sizes.copies,
            both_ways_bytes=self.sizes.both_ways_bytes,
            dtypes=(self._half, Dtype.FP32),
        )

        def take(deadline: Deadline) -> None:
            with self.make() as backend:
                for _, _, rows in card.parts(backend):
                    self.notebook.take(rows(), deadline)

        return self._noted(take, deadline)

    def _sustained(self, deadline: Deadline) -> str:
        return self._noted(self._take_sustained, deadline)

    def _take_sustained(self, deadline: Deadline) -> None:
        with self.make() as backend:
            for dtype, key in ((Dtype.FP32, FP32_GEMM), (self._half, GEMM)):
                product = LargeProduct.of(backend, dtype, self.sizes.product)
                burst_s = product.burst_s()
                rows = [
                    Measured(
                        group="large product",
                        name=f"product of {product.size} in {dtype}",
                        amounts={key: product.flops},
                        seconds=seconds,
                    )
                    for seconds in burst_s
                ]
                self.notebook.take(rows, deadline)
            self._load(product, median(burst_s), deadline)

    def _load(self, product: LargeProduct, burst_s: float, deadline: Deadline) -> None:
        """What long work leaves of the burst: of what was seen, if time is up before its end."""
        probe = open_nvml(current_card())
        windows_s: list[float] = []
        with ExitStack() as stack:
            sampler = (
                None if isinstance(probe, str) else Sampler([probe], interval_s=_SAMPLED_EVERY_S)
            )
            if sampler is not None:
                stack.enter_context(sampler)
            try:
                windows = product.windows_s(
                    self.sizes.load_s * self.scale, window_s=self.sizes.window_s
                )
                for seconds in windows:
                    windows_s.append(seconds)
                    deadline.check()
            finally:
                self._settle(windows_s, burst_s)
        self._write(
            "sustained.json",
            {
                "size": product.size,
                "dtype": str(product.dtype),
                "burst_flops_per_s": product.flops / burst_s,
                "window_s": self.sizes.window_s,
                "flops_per_s": [product.flops / seconds for seconds in windows_s],
                "samples": [] if sampler is None else [sample.row for sample in sampler.samples],
                "notes": [probe] if sampler is None else sampler.notes,
            },
        )

    def _settle(self, windows_s: Sequence[float], burst_s: float) -> None:
        if not windows_s:
            return
        last = windows_s[-max(1, round(len(windows_s) * _SETTLED)) :]
        ratios = [burst_s / seconds for seconds in last]
        self.notebook.put(
            "device.sustained_ratio", min(median(ratios), 1.0), min(ratios), max(ratios)
        )

    def _tests(self, deadline: Deadline) -> str:
        """In a process of its own: it may be stopped, and pytest may be absent."""
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *self.sizes.tests]
        try:
            done = subprocess.run(
                words,
                cwd=_ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=max(deadline.left_s, 1.0),
            )
        except subprocess.TimeoutExpired as late:
            write_file(self.folder / "tests.txt", late.stdout or b"")
            raise
        write_file(self.folder / "tests.txt", (done.stdout + done.stderr).encode())
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        said = last[0] if last else "no output"
        if done.returncode != 0:
            raise RuntimeError(f"pytest ended with {done.returncode}: {said}; see tests.txt")
        return said

    def _predict(self, deadline: Deadline) -> str:
        """With the machine as it is by now, which no part changes any more."""
        size_bytes = large_bytes(free_host_bytes(), _LARGE_S * self.scale, self.sizes)
        machine = self.notebook.machine
        return self.runs.predict(designs(machine, self.sizes, size_bytes), machine, deadline)

    def _finish(self, deadline: Deadline) -> str:
        machine = str(self.folder / "machine.toml")
        return self.runs.finish({"machine": machine, "backend": self.backend, "seed": 0})

    @property
    def _half(self) -> Dtype:
        return Dtype.FP16 if self.notebook.base.device.bf16_flops_per_s is None else Dtype.BF16

    def _noted(self, take: Callable[[Deadline], None], deadline: Deadline) -> str:
        """What was taken is saved, however it ends."""
        before = len(self.notebook)
        try:
            self._freed(take, deadline)
        finally:
            self.notebook.save()
        return f"{len(self.notebook) - before} measurements"

    def _freed(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """What PyTorch's allocator has kept of earlier parts is the driver's again."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return run(*arguments)

    def _write(self, name: str, content: Any) -> None:
        write_file(self.folder / name, json.dumps(content, indent=1, default=str).encode())


def _base(backend: BackendName, folder: Path, source: str) -> Machine:
    """The catalogue's machine with this card, in the room that is really there."""
    memory_bytes = psutil.virtual_memory().total
    card = (
        card_room(read_card())
        if backend == "cuda"
        else CardRoom(name="host CPU", memory_bytes=memory_bytes, num_sms=1, architecture="host")
    )
    folder.mkdir(parents=True, exist_ok=True)
    room = HostSpecs(
        num_cores=psutil.cpu_count(logical=False) or 1,
        memory_bytes=memory_bytes,
        disk_bytes=psutil.disk_usage(str(folder)).total,
    )
    base = base_machine(card.name, card.architecture)
    return on_card(base, card, room, source=f"{source}, on {card.name}")


def scale_of(minutes: float) -> float:
    """The budget over that of a whole day."""
    return 60.0 * minutes / WHOLE_S
