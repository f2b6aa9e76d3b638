"""Models and machines as the page stores them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from experiments.planner.document import StoredModel
from experiments.planner.machines import Known
from experiments.planner.packed import packed
from experiments.planner.tables import tables
from zo2sim.machines.machine import Machine
from zo2sim.models.shapes import Model

_SIZES = (
    *("model_type", "vocab_size", "hidden_size", "n_embd", "num_hidden_layers", "n_layer"),
    *("intermediate_size", "ffn_dim", "num_local_experts"),
)
"""Fields of a config.json that tell models apart: a pasted one is looked for by these."""


def stored_machines(machines: Iterable[Machine]) -> Iterator[Mapping[str, Any]]:
    """What is known of every machine, bands and all."""
    return (Known.of(machine).content for machine in machines)


def stored_model(
    model: Model, machines: Sequence[Machine], config: Mapping[str, object] | None = None
) -> StoredModel:
    """All tables of a model; ``config`` are the fields of its config.json, where it has one."""
    found = list(tables(model, machines))
    content = {
        "name": model.name,
        "config": sizes(config),
        "formats": [table.content for table in found],
    }
    return StoredModel(content=content, numbers=packed(found))


def sizes(config: Mapping[str, object] | None) -> dict[str, object] | None:
    """What of a config tells its model from others."""
    return None if config is None else {key: config[key] for key in _SIZES if key in config}
