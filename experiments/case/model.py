"""The model that a command line names, of whatever kind: known, written to a file, or traced."""

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from zo2sim.checks import shown
from zo2sim.models.config import name_of
from zo2sim.models.presets import foreign_config, resolve
from zo2sim.models.shapes import Model


@lru_cache(maxsize=64)
def model_of(text: str) -> Model:
    """What `zo2sim.models.presets.resolve` takes, or a config of any class of transformers.

    Only a config that no reader knows needs PyTorch and transformers: its class is built without
    weights, and traced. Raises ``ValueError`` where they are missing, or that fails.
    """
    config = foreign_config(text)
    return resolve(text) if config is None else _traced(config, name_of(text))


def _traced(config: Mapping[str, object], name: str) -> Model:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the import, which reads it
    with _uncollected():
        trace = _tracer(config, name)
        gc.freeze()  # one look at all that this has loaded takes a quarter of the whole
        return trace(config, name=name)


def _tracer(config: Mapping[str, object], name: str) -> Callable[..., Model]:
    try:
        from zo2rt.tracing.tracing import trace  # the only import of the runtime in a plan
    except ModuleNotFoundError as error:
        kind, named = config.get("model_type"), shown(config.get("architectures"))
        raise ValueError(
            f"{name}: model_type {kind!r} with architectures {named} has no reader, so its class "
            f"must be traced, which needs {error.name}: install 'zo2sim[rt]', or give the file "
            f"that plan --write-model FILE wrote where it is installed"
        ) from None
    return trace


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Inside, nobody looks for cycles among what is loaded and built, nearly all of which stays:
    that would take a sixth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
