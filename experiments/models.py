"""The models that are known by name.

python -m experiments.models
"""

import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.cli import Answer, finish, run
from experiments.screen import headed, left, right
from zo2sim.memory.account import GIB
from zo2sim.models.config import FAMILIES
from zo2sim.models.presets import every, resolve, resolve_config
from zo2sim.models.shapes import Model

_NOTE = (
    "A model may also be named by its id at Hugging Face (facebook/opt-13b), and any other one of "
    f"these families by its folder or config.json: {', '.join(FAMILIES)}. Other families are read "
    "where PyTorch and transformers are installed (extra rt)."
)
_FP16_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class Config:
    """The models that are known by name."""

    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    models = [resolve(name) for name in every()]
    content = {"models": [_content(model) for model in models], "families": [*FAMILIES]}
    return finish(Answer(content, lambda: Console().print(_table(models))), config.json)


def _content(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "id": (resolve_config(model.name) or {}).get("id"),
        "family": model.family,
        "elements": model.elements,
        "blocks": model.num_blocks,
        "hidden": model.hidden,
        "positions": model.max_positions,
    }


def _table(models: list[Model]) -> Table:
    figures = right("parameters", "in fp16", "blocks", "hidden", "positions", whole=True)
    table = headed(*left("model", whole=True), *figures, gap=1)
    table.caption, table.caption_justify = _NOTE, "left"
    for model in models:
        table.add_row(
            model.name,
            f"{model.elements / 1e9:#.4g} B",
            f"{model.elements * _FP16_BYTES / GIB:.1f} GiB",
            str(model.num_blocks),
            f"{model.hidden:,}",
            "any" if model.max_positions is None else f"{model.max_positions:,}",
        )
    return table


if __name__ == "__main__":
    sys.exit(run(main, Config))
