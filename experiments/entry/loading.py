"""Packages are loaded without a look at what they bring, then and later."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Inside, nobody looks for cycles, and later nobody does among what is there by then.

    Nearly all of that stays: to look costs a tenth of a prediction, and a quarter of a first plan
    that loads PyTorch and transformers.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
