"""Models and machines as the page stores them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from experiments.planner.choices import CARDS
from experiments.planner.computers import Computer
from experiments.planner.document import StoredModel
from experiments.planner.machines import Known
from experiments.planner.packed import packed
from experiments.planner.tables import Steps, tables
from zo2sim.models.shapes import Model

_SIZES = (
    *("model_type", "vocab_size", "hidden_size", "n_embd", "num_hidden_layers", "n_layer"),
    *("intermediate_size", "ffn_dim", "num_local_experts"),
)
"""Fields of a config.json that tell models apart: a pasted one is looked for by these."""


def stored_computers(computers: Iterable[Computer]) -> Iterator[Mapping[str, Any]]:
    """What is known of every computer, bands and all."""
    return (Known.of(computer).content for computer in computers)


def stored_model(
    model: Model,
    computers: Sequence[Computer],
    config: Mapping[str, object] | None = None,
    *,
    cards: Collection[int] = CARDS,
) -> StoredModel:
    """All tables of a model, or those of some numbers of cards; ``config`` are the fields of its
    config.json, where it has one."""
    return of_tables(model.name, list(tables(model, computers, cards)), config)


def of_tables(
    name: str, found: Sequence[Steps], config: Mapping[str, object] | None
) -> StoredModel:
    """A model by the tables that were made of it."""
    formats = [table.content for table in found]
    content = {"name": name, "config": sizes(config), "formats": formats}
    return StoredModel(content=content, numbers=packed(found))


def sizes(config: Mapping[str, object] | None) -> dict[str, object] | None:
    """What of a config tells its model from others."""
    return None if config is None else {key: config[key] for key in _SIZES if key in config}
