"""The engine, assembled from parts with one noun each. Imports every room but `measure`.

`engine` is what a user drives, `assembly` puts its parts together, `self_test` compares a tiny
batch with the whole model before step 0, `contents` shows and writes the weights. `trainer` is the
same behind `transformers.Trainer`, with the seeds of `seeds`: `arguments` is the table of what that
is given, `agreement` makes a recipe of it, and `followed` refuses the rest.
"""

from zo2rt.engine.engine import Engine
from zo2rt.optimizer import MezoSgd, Objective

__all__ = ["Engine", "MezoSgd", "Objective"]
