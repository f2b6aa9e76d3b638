"""What the sampler saw, in a run's folder: ``samples.parquet``, a line per moment."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd

from experiments.cli import write_file
from zo2rt.sampling import FIELDS, HostProbe, Probe, Sample, Sampler, open_nvml


def sampler_of_this_machine(*, interval_s: float = 0.1) -> tuple[Sampler, str | None]:
    """GPU and host together, or the host alone and the sentence that says why."""
    gpu = open_nvml()
    probes: list[Probe] = [HostProbe()] if isinstance(gpu, str) else [gpu, HostProbe()]
    return Sampler(probes, interval_s=interval_s), gpu if isinstance(gpu, str) else None


def write_samples(out: Path, samples: Sequence[Sample]) -> None:
    """One schema for every machine: columns that it does not tell are empty."""
    texts = {"throttled"}
    table = pd.DataFrame([sample.row for sample in samples], columns=["time_s", *FIELDS])
    table = table.astype({n: "string" if n in texts else "float64" for n in table.columns})
    content = BytesIO()
    table.to_parquet(content, index=False)
    write_file(out / "samples.parquet", content.getvalue())
