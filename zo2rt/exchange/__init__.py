"""Ranks: processes that train one model together and exchange scalars only. Imports `journal`.

`exchange` is what a rank asks of the others, `alone` one process, `gloo` several of them, which is
the only file that knows torch.distributed. `message` is what travels in a step, `ranks` puts the
losses in lane order and stops ranks that differ; `begin` brings all of them to one position of one
run. Lanes are dealt by `zo2sim.plan.shares`.

Every rank has the whole model and makes every update by itself, from the losses of all: no sum is
ever taken on the way, so that nothing depends on their number.
"""

from zo2rt.exchange.alone import ALONE, Alone
from zo2rt.exchange.exchange import (
    Exchange,
    ExchangeError,
    FirstFailed,
    Patience,
    RankGone,
    RanksDiffer,
)
from zo2rt.exchange.gloo import Gloo, beside, joined, launched

__all__ = [
    "ALONE",
    "Alone",
    "Exchange",
    "ExchangeError",
    "FirstFailed",
    "Gloo",
    "Patience",
    "RankGone",
    "RanksDiffer",
    "beside",
    "joined",
    "launched",
]
