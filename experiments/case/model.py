"""The model that a command line names, of whatever kind: known, written to a file, or traced."""

import os
from collections.abc import Mapping
from functools import lru_cache

from experiments.entry.loading import loading
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
    with loading():
        return _trace(config, name)


def _trace(config: Mapping[str, object], name: str) -> Model:
    try:
        from zo2rt.tracing.tracing import trace  # the only import of the runtime in a plan
    except ModuleNotFoundError as error:
        kind, named = config.get("model_type"), shown(config.get("architectures"))
        raise ValueError(
            f"{name}: model_type {kind!r} with architectures {named} has no reader, so its class "
            f"must be traced, which needs {error.name}: install 'zo2sim[rt]', or give the file "
            f"that plan --write-model FILE wrote where it is installed"
        ) from None
    return trace(config, name=name)
