"""The engine, assembled from parts with one noun each. Imports every room but `measure`.

`engine` is what a user drives and `trainer` the same behind `transformers.Trainer`, with the seeds
of `seeds`; `assembly` puts the parts together, `self_test` compares a tiny batch with the whole
model before step 0.
"""

from zo2rt.engine.engine import Engine
from zo2rt.optimizer import MezoSgd, Objective

__all__ = ["Engine", "MezoSgd", "Objective"]
