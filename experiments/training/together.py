"""Ranks of one run: the first reads and checks the settings, and gives them to the others."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from experiments.training.settings import Config
from zo2rt.engine.shared_host import deal_cores
from zo2rt.exchange import Exchange, FirstFailed


@contextmanager
def leading(exchange: Exchange) -> Iterator[Callable[[Config], None]]:
    """Inside, rank 0 prepares, and gives the settings to the others at the end.

    Where it fails before, the others end with it.
    """
    given: list[Config] = []
    try:
        yield given.append
    except BaseException:
        if not given:
            exchange.from_first(b"")
        raise
    exchange.from_first(pickle.dumps(given[0]))
    deal_cores(exchange)


def followed(exchange: Exchange) -> Config:
    """The settings of rank 0, which has written what all read. Raises `FirstFailed`."""
    told = exchange.from_first(None)
    if not told:
        raise FirstFailed("rank 0 has said why")
    config = pickle.loads(told)
    assert isinstance(config, Config), "rank 0 gives settings"
    deal_cores(exchange)
    return config
