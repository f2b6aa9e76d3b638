"""Attention caught whole: which heads look at which keys, in place of the kernels that do it.

transformers lets others register an attention function, and a function that makes its masks. While
`caught` lasts, both are ours; so is PyTorch's own for models that call it themselves.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    AttentionMaskInterface,
    sdpa_mask,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

NAME = "zo2_traced"
_CAUGHT = NAME, "sdpa"
_FAR = 1 << 17
"""A position that no window reaches back from to the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Which keys a mask keeps; ``window`` of those up to the query's own, or to either side."""

    causal: bool
    window: int | None = None
    chunk: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attention: sizes of one sequence."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    queries: int
    keys: int
    kept: Kept


@dataclass
class Masks:
    """Masks that were made, by what they keep; ``always`` makes one where none is needed.

    Otherwise a window makes none: a fused kernel knows of windows.
    """

    always: bool
    made: dict[int, tuple[Tensor, Kept]] = field(default_factory=dict)

    def make(self, **sizes: Any) -> Tensor | None:
        """In place of `transformers.masking_utils.sdpa_mask`."""
        if not self.always:
            sizes["local_size"] = None
            return sdpa_mask(**sizes)
        shape = sizes["batch_size"], 1, sizes["q_length"], sizes["kv_length"]
        mask = torch.empty(shape, dtype=torch.bool, device="meta")
        self.made[id(mask)] = mask, kept(sizes["mask_function"])
        return mask

    def of(self, mask: Tensor | None, *, causal: bool, window: int | None) -> Kept:
        """What a mask keeps; of one that somebody else made, what the caller says."""
        known = self.made.get(id(mask))
        return Kept(causal=causal, window=window) if known is None else known[1]


def kept(function: Callable[..., Tensor]) -> Kept:
    """What a mask function keeps, seen by asking it."""
    with _Beyond():
        return _kept(function)


def _kept(function: Callable[..., Tensor]) -> Kept:
    zero = torch.tensor(0)
    keys = torch.arange(2 * _FAR)
    here, next_one = (function(zero, zero, torch.tensor(_FAR + i), keys) for i in (0, 1))
    causal = not bool(here.expand(2 * _FAR)[_FAR + 1])
    first, second = (int(row.expand(2 * _FAR).int().argmax()) for row in (here, next_one))
    if first == 0:
        return Kept(causal=causal)
    if second == first:
        return Kept(causal=causal, chunk=int(function(zero, zero, keys, zero).sum()))
    return Kept(causal=causal, window=_FAR - first + causal)


@contextlib.contextmanager
def caught(sink: Callable[[Call], None], *, masks: Masks) -> Iterator[None]:
    """Inside, every fused attention goes to ``sink``, and computes nothing."""

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **given: Any,
    ) -> tuple[Tensor, None]:
        causal = given.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        window = given.get("sliding_window")
        call = _call(query, key, value, masks.of(attention_mask, causal=causal, window=window))
        sink(call)
        return _result(query, value).transpose(1, 2), None

    for name in _CAUGHT:
        ALL_ATTENTION_FUNCTIONS[name] = attend
        ALL_MASK_ATTENTION_FUNCTIONS[name] = masks.make
    try:
        with _Fused(sink, masks):
            yield
    finally:
        for name in _CAUGHT:
            del ALL_ATTENTION_FUNCTIONS[name], ALL_MASK_ATTENTION_FUNCTIONS[name]


def _nowhere(*_: Any, **__: Any) -> tuple[Tensor, None]:
    raise RuntimeError(f"{NAME} must be called inside of `caught`; it computes nothing")


AttentionInterface.register(NAME, _nowhere)  # a class refuses a name that is not known
AttentionMaskInterface.register(NAME, sdpa_mask)


class _Beyond(TorchFunctionMode):
    """A table of the sequence's positions goes on as it ends: which image, if any, each is of."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.__getitem__ and isinstance(args[1], tuple):
            table, at = args
            within = zip(at, table.shape, strict=False)
            args = (
                table,
                tuple(i.clamp(max=n - 1) if isinstance(i, Tensor) else i for i, n in within),
            )
        return func(*args, **(kwargs or {}))


class _Fused(TorchFunctionMode):
    """Catches PyTorch's fused attention where a model calls it."""

    def __init__(self, sink: Callable[[Call], None], masks: Masks) -> None:
        super().__init__()
        self._sink, self._masks = sink, masks

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **_: Any,
    ) -> Tensor:
        kept = self._masks.of(attn_mask, causal=is_causal, window=None)
        self._sink(_call(query, key, value, kept))
        return _result(query, value)


def _call(query: Tensor, key: Tensor, value: Tensor, kept: Kept) -> Call:
    """Tensors are (batch, heads, length, width)."""
    return Call(
        heads=query.shape[1],
        kv_heads=key.shape[1],
        head_dim=query.shape[3],
        value_dim=value.shape[3],
        queries=query.shape[2],
        keys=key.shape[2],
        kept=kept,
    )


def _result(query: Tensor, value: Tensor) -> Tensor:
    """(batch, heads, queries, value width), in the order in memory that fused kernels give."""
    batch, heads, queries, _ = query.shape
    shape = batch, queries, heads, value.shape[3]
    return torch.empty(shape, dtype=query.dtype, device=query.device).transpose(1, 2)
