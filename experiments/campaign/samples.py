"""What the sampler saw, as the table that a run's folder keeps: a row per moment."""

from collections.abc import Sequence

import pandas as pd

from zo2rt.sampling.sample import FIELDS, Sample

_TEXTS = {"throttled"}


def sample_frame(samples: Sequence[Sample]) -> pd.DataFrame:
    """One schema for every machine: columns that it does not tell are empty."""
    table = pd.DataFrame([sample.row for sample in samples], columns=["time_s", *FIELDS])
    return table.astype({n: "string" if n in _TEXTS else "float64" for n in table.columns})
