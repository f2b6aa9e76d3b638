"""The lists of blocks that a model without values runs, as the runtime finds them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from zo2rt.model.discovery import Blocks, block_lists
from zo2rt.model.stacks import running_blocks
from zo2rt.tracing.passes import once


def running(model: nn.Module, batch: Mapping[str, Any]) -> Blocks:
    """See `zo2rt.model.stacks.running_blocks`; blocks that are alike run once."""
    lists = block_lists(model)
    with once([*Blocks.at(model, *lists).modules] if lists else []):
        return running_blocks(model, lambda: model(**batch))
