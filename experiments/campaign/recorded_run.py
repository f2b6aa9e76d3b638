"""A run's folder as calibration reads it: ``model.json``, ``plan.toml`` and ``trace.json.gz``.

``model.json`` holds the fields of the model's config.json, and under ``link_bytes_per_s`` the limit
of the link, if the run had one.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

from analysis.fits.trace_file import read_trace
from experiments.cli import json_object, write_file
from zo2rt.measure.runs import MeasuredRun, RunSpec
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import cap_link
from zo2sim.plan.file import dump, parse
from zo2sim.predict.case import Case
from zo2sim.reading import read_text
from zo2sim.simulate.perfetto import to_json

_LIMIT = "link_bytes_per_s"


def write_recorded(folder: Path, run: MeasuredRun, *, metadata: Mapping[str, str]) -> None:
    """The three files of a run; the folder is made."""
    write_spec(folder, run.spec)
    text = to_json(run.trace, name=run.spec.name, metadata=metadata)
    write_file(folder / "trace.json.gz", gzip.compress(text.encode(), mtime=0))


def write_spec(folder: Path, spec: RunSpec) -> None:
    """What ran, beside a trace that is there: ``model.json`` and ``plan.toml``."""
    fields = {**spec.config, _LIMIT: spec.link_bytes_per_s}
    write_file(folder / "model.json", json.dumps(fields, indent=2).encode())
    write_file(folder / "plan.toml", dump(spec.plan, spec.recipe).encode())


def read_recorded(folder: Path) -> MeasuredRun:
    """The run that a folder holds; its turns, if it took any, lie elsewhere.

    Raises ``ValueError`` that names the file which is amiss.
    """
    model, plan_file = folder / "model.json", folder / "plan.toml"
    plan, recipe = parse(_text(plan_file), where=str(plan_file))
    fields = json_object(_text(model), where=str(model))
    limit = fields.pop(_LIMIT, None)
    spec = RunSpec(
        name=str(folder), config=fields, plan=plan, recipe=recipe, link_bytes_per_s=limit
    )
    case = case_of(spec)
    return MeasuredRun(spec=spec, trace=read_trace(folder / "trace.json.gz", case.program))


def case_of(spec: RunSpec, machine: Machine | None = None) -> Case:
    """The run as the predictor knows it, its link limited as the run's is.

    Without a machine it is on one that is yet to be calibrated: its amounts count, not its times.
    """
    own = named("this-host") if machine is None else machine
    rate = spec.link_bytes_per_s
    limited = own if rate is None else cap_link(own, rate)
    return Case(model=spec.model, machine=limited, plan=spec.plan, recipe=spec.recipe)


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise ValueError(
            f"{path.parent}: must be a run's folder with model.json, plan.toml and trace.json.gz; "
            f"{path.name}: {error.strerror}"
        ) from None
