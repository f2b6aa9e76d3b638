"""A model of another width: more or fewer heads of its size, and everything else in proportion.

Hidden size and feed-forward width keep their ratio to the number of heads, and so does the number
of heads for keys and values. Depth follows the shapes that the family published.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import exp, gcd, log

import numpy as np

from zo2sim.models.config import from_config
from zo2sim.models.shapes import Attention, Model, deeper

_WIDTHS = (
    *("hidden_size", "n_embd", "ffn_dim", "n_inner", "intermediate_size", "word_embed_proj_dim"),
    *("num_attention_heads", "n_head", "num_key_value_heads"),
)
"""Fields of a config that grow with the width, of all families."""


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The widths that a model may have: ``group`` heads share one head for keys and values.

    ``config`` describes ``model``; ``family`` are other models whose depths it follows.
    """

    model: Model
    config: Mapping[str, object]
    family: tuple[Model, ...] = ()

    @property
    def group(self) -> int:
        """Heads come in multiples of this."""
        own = self._attention
        return own.heads // gcd(own.heads, own.kv_heads)

    def of(self, groups: int) -> Model:
        """The model with that many groups of heads, as deep as the family would make it."""
        own, heads = self._attention, groups * self.group
        grown = {
            key: max(1, round(value * heads / own.heads))
            for key in _WIDTHS
            if isinstance(value := self.config.get(key), int)
        }
        if "n_head" not in self.config:
            grown["num_key_value_heads"] = heads * own.kv_heads // own.heads
        model = from_config({**self.config, **grown}, name=self.model.name)
        depth = self.depth(model.hidden)
        name = f"{self.model.name} with {depth} blocks of {model.hidden}"
        return replace(deeper(model, depth), name=name)

    def depth(self, hidden: int) -> int:
        """Blocks at a hidden size: the family's curve through the model's own shape.

        Between published shapes its logarithms are interpolated; beyond them depth is
        proportional to width.
        """
        own = self._published_depth(self.model.hidden)
        return max(1, round(self.model.num_blocks * self._published_depth(hidden) / own))

    def _published_depth(self, hidden: int) -> float:
        known = _deepest_by_width((self.model, *self.family))
        widths, depths = list(known), list(known.values())
        nearest = min(max(hidden, widths[0]), widths[-1])
        logs = np.interp(log(nearest), np.log(widths), np.log(depths))
        return exp(float(logs)) * hidden / nearest

    @property
    def _attention(self) -> Attention:
        (attention,) = self.model.blocks[0].attentions
        return attention


def _deepest_by_width(models: Iterable[Model]) -> dict[int, int]:
    """Blocks by hidden size, growing with it: of shapes of one width the deepest counts."""
    deepest: dict[int, int] = {}
    most = 0
    for model in sorted(models, key=lambda model: (model.hidden, model.num_blocks)):
        most = deepest[model.hidden] = max(most, model.num_blocks)
    return deepest
