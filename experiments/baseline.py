"""First-order training on the same machines: does it fit, how fast, what limits it.

python -m experiments.baseline --method zero_offload --model opt-6.7b --machine a100-pcie-80gb
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Self

from analysis.plots.timeline import timeline
from analysis.report.commands.training import training_document
from analysis.report.document import TRACE
from experiments.answer.trust import unbanded
from experiments.case.model import model_of
from experiments.case.sizes import parse_bytes, show_bytes, show_seconds
from experiments.cli import DONE, Answer, finish, run
from experiments.entry.flags import refuse
from experiments.folder.provenance import provenance
from experiments.folder.traces import TraceFormat, trace_text
from experiments.folder.write import Number, Run, number_records, settings, write_run
from zo2sim.baselines import (
    Training,
    TrainingCase,
    TrainingPrediction,
    check_training,
    predict,
)
from zo2sim.machines.file import resolve as resolve_machine
from zo2sim.machines.what_if import replace_all
from zo2sim.memory.account import MemoryPlace
from zo2sim.schedule.text import brief, dump
from zo2sim.schedule.verify import verify

_WIDTH = 80
_UNITS = {
    "device_bytes": "B",
    "host_bytes": "B",
    "nvme_bytes": "B",
    "step_s": "s",
    "tokens_per_s": "1/s",
    "flops_per_s": "1/s",
    "lower_bound_s": "s",
}
_SHOWN_BYTES = 1 << 20  # smaller items are left out of the screen

_UNMEASURED = "every step: no first-order step was measured by this project"


@dataclass(frozen=True, kw_only=True)
class Config:
    """A baseline's time and memory. Exit code 3: it does not fit, or its schedule has a hazard."""

    training: Training
    model: str = "opt-13b"
    """Preset, or a folder or config.json in Hugging Face's format."""
    machine: str = "a100-pcie-80gb"
    """Machine of the catalogue, or a TOML file."""
    device_memory: str | None = None
    """Device memory to plan for, e.g. 18GB or 24GiB; otherwise the machine's."""
    host_memory: str | None = None
    """Host memory to plan for; otherwise the machine's."""
    show: bool = False
    """Print the names and edges of one step's operations, and nothing else."""
    text: bool = False
    """Print the step's text form, which experiments.verify --file reads, and nothing else."""
    out: Path | None = None
    """Write a run's folder with records, trace, figure and report, which report takes."""
    trace_format: TraceFormat = "perfetto"
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse what a schedule alone leaves out, and slots where every weight stays."""
        only = "--show" if self.show else "--text"
        if self.show or self.text:
            rest = ("--device-memory", "--host-memory", "--out", "--json")
            refuse(flags, (*rest, "--text") if self.show else rest, f"with {only}")
        if self.out is None:
            refuse(flags, ("--trace-format",), "without --out")
        if self.training.homes.weights == "device":
            refuse(flags, ("--num-slots",), f"with --method {self.training.method}")
        return self

    @property
    def case(self) -> TrainingCase:
        """What the flags name. Raises ``ValueError`` where they name nothing."""
        sizes = (
            ("device.memory_bytes", "--device-memory", self.device_memory),
            ("host.memory_bytes", "--host-memory", self.host_memory),
        )
        model = model_of(self.model)
        model.check_length(self.training.sequence)
        changes = {key: parse_bytes(t, flag=flag) for key, flag, t in sizes if t is not None}
        return TrainingCase(
            model=model,
            machine=replace_all(resolve_machine(self.machine), changes),
            training=self.training,
        )


def main(config: Config) -> int:
    """Exit code: 0 done, 3 the answer is no."""
    case = config.case
    if config.show or config.text:
        period = case.program.period
        print(brief(period) if config.show else dump(period).rstrip("\n"))
        return DONE
    predicted, hazards = predict(case), _hazards(case)
    if config.out is not None:
        write_run(config.out, _folder(config, predicted, hazards))
    answer = Answer(
        _document(predicted, hazards),
        lambda: print("\n".join(_lines(predicted, hazards))),
        yes=all(p.fits for p in case.fits) and not hazards,
    )
    return finish(answer, config.json)


def _folder(config: Config, predicted: TrainingPrediction, hazards: list[str]) -> Run:
    source, asked = provenance(seed=0, machines=[config.machine]), settings(config)
    found, case, trace = _document(predicted, hazards), predicted.case, predicted.trace
    numbers: list[Number] = [({}, name, float(found[name]), unit) for name, unit in _UNITS.items()]
    name = f"{case.model.name} on {case.machine.name}, {case.training.method}"
    return Run(
        verb="baseline",
        config=asked,
        summary=found,
        provenance=source,
        records=number_records(asked, numbers, source="predicted"),
        figures={"timeline": timeline(trace, trace.steady)},
        traces={TRACE: trace_text(trace, config.trace_format, name=name, metadata=source)},
        document=training_document(
            predicted, hazards, grounds=unbanded(case.machine, _UNMEASURED), provenance=source
        ),
    )


def _hazards(case: TrainingCase) -> list[str]:
    program = case.program
    return [str(hazard) for hazard in (*verify(program), *check_training(program))]


def _document(predicted: TrainingPrediction, hazards: list[str]) -> dict[str, Any]:
    case = predicted.case
    memory = case.memory
    return {
        "model": case.model.name,
        "machine": case.machine.name,
        "method": case.training.method.value,
        "fits": all(place.fits for place in case.fits),
        "device_bytes": memory.device_bytes,
        "host_bytes": memory.host_bytes,
        "nvme_bytes": memory.nvme_bytes,
        "memory": {place.value: memory.itemised(place) for place in MemoryPlace},
        "hazards": hazards,
        "step_s": predicted.step_s,
        "tokens_per_s": predicted.tokens_per_s,
        "flops_per_s": predicted.flops_per_s,
        "lower_bound_s": predicted.bound.step_s,
        "binding": predicted.bound.binds[0],
        "binds": list(predicted.bound.binds),
    }


def _lines(predicted: TrainingPrediction, hazards: list[str]) -> Iterator[str]:
    case = predicted.case
    verdict = "fits" if all(place.fits for place in case.fits) else "does not fit"
    yield f"{case.model.name} on {case.machine.name}, {case.training.method}: {verdict}"
    for place in case.fits:
        if place.needed_bytes:
            line = f"  {'ok' if place.fits else 'NO'}  {place.sentence}"
            yield from wrap(line, _WIDTH, subsequent_indent=" " * 6)
    yield from _speed(predicted)
    for hazard in hazards:
        yield f"  {hazard}"
    for place in MemoryPlace:
        items = case.memory.itemised(place)
        shown = {name: nbytes for name, nbytes in items.items() if nbytes >= _SHOWN_BYTES}
        if shown:
            yield f"{place} memory"
            yield from (f"  {name:20}{show_bytes(nbytes):>12}" for name, nbytes in shown.items())


def _speed(predicted: TrainingPrediction) -> Iterator[str]:
    gap = round(predicted.gap, 4) + 0.0  # never "-0.0%"
    yield f"  step         {show_seconds(predicted.step_s)}"
    yield f"  tokens/s     {predicted.tokens_per_s:.4g}"
    yield (
        f"  TFLOP/s      {predicted.flops_per_s / 1e12:.1f}, at "
        f"{predicted.case.training.flops_per_parameter_token} per parameter and token"
    )
    yield f"  lower bound  {show_seconds(predicted.bound.step_s)}; the step is {gap:.1%} above it"
    yield f"  binds        {' and '.join(predicted.bound.words)}"


if __name__ == "__main__":
    sys.exit(run(main, Config))
