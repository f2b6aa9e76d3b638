"""What the sampler saw, in a run's folder: ``samples.parquet``, a line per moment."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd

from experiments.cli import write_file
from zo2rt.sampling import FIELDS, Sample

_TEXTS = {"throttled"}


def sample_frame(samples: Sequence[Sample]) -> pd.DataFrame:
    """One schema for every machine: columns that it does not tell are empty."""
    table = pd.DataFrame([sample.row for sample in samples], columns=["time_s", *FIELDS])
    return table.astype({n: "string" if n in _TEXTS else "float64" for n in table.columns})


def write_samples(out: Path, table: pd.DataFrame) -> None:
    """The table of `sample_frame`, in the run's folder."""
    content = BytesIO()
    table.to_parquet(content, index=False)
    write_file(out / "samples.parquet", content.getvalue())
