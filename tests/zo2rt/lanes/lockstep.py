"""Small models without a library, and lanes driven as an executor drives them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zo2rt.lanes.traversal import Traversal
from zo2rt.model.binding import bound
from zo2rt.model.loss import LossFn
from zo2rt.model.units import UnitParameter, Units, find_units

Weights = Mapping[str, Tensor]


class Step(nn.Module):
    """A block: x -> tanh(W x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.linear(hidden))


class Chain(nn.Module):
    """Embedding, blocks in the order ``visits``, norm, tied or untied head."""

    _no_split_modules = ("Step",)

    def __init__(self, num_blocks: int = 3, *, width: int = 4, tied: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, width)
        self.norm = nn.LayerNorm(width)  # registered before the blocks, as OPT does
        self.steps = nn.ModuleList(Step(width) for _ in range(num_blocks))
        self.head = nn.Linear(width, 8, bias=False)
        self.visits = list(range(num_blocks))
        if tied:
            self.head.weight = self.embed.weight

    def linear(self, block: int) -> nn.Linear:
        step = self.steps[block]
        assert isinstance(step, Step)
        return step.linear

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embed(tokens)
        for block in self.visits:
            hidden = self.steps[block](hidden)
        return self.head(self.norm(hidden))


def chain(num_blocks: int = 3, *, seed: int = 0, tied: bool = False) -> Chain:
    torch.manual_seed(seed)
    return Chain(num_blocks, tied=tied).eval()


def tokens(seed: int = 0) -> Tensor:
    return torch.randint(0, 8, (5,), generator=torch.Generator().manual_seed(seed))


def mean_square(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


def units_of(model: nn.Module, loss_fn: LossFn = mean_square) -> Units:
    return find_units(model, loss_fn, tokens())


def random_weights(units: Units, seed: int) -> Weights:
    """A whole set of weights of the model's shapes and dtypes."""
    drawn = torch.Generator().manual_seed(seed)
    return {
        p.name: (torch.randn(p.shape, generator=drawn) / 4).to(p.tensor.dtype)
        for p in units.parameters
    }


def bind(units: Units, weights: Weights) -> Any:
    return bound(units.parameters, [weights[p.name] for p in units.parameters])


@contextmanager
def parked(parameters: Sequence[UnitParameter]) -> Iterator[None]:
    """Inside, the parameters hold nothing: reading one outside its unit is an error of shapes."""
    before = [p.tensor.data for p in parameters]
    for parameter in parameters:
        parameter.tensor.data = parameter.tensor.data.new_empty(0)
    try:
        yield
    finally:
        for parameter, tensor in zip(parameters, before, strict=True):
            parameter.tensor.data = tensor


def trip(traversal: Traversal, units: Units, weights: Sequence[Weights]) -> None:
    """Every unfinished lane through every unit with its own weights; all others hold nothing."""
    for unit in units.order:
        for lane in traversal.unfinished:
            read = (*unit.parameters, *unit.borrowed)
            values = [weights[lane][p.name] for p in read]
            with parked(units.parameters), bound(read, values):
                traversal.advance(lane, unit.number)


def whole(
    model: nn.Module, units: Units, loss_fn: LossFn, weights: Weights, batch: Any
) -> Tensor | float:
    """The loss of the whole model with these weights, without lanes."""
    with torch.no_grad(), bind(units, weights):
        return loss_fn(model, batch)


def lockstep(model: nn.Module, units: Units, loss_fn: Any, batches: list[Any]) -> list[float]:
    """Losses of lanes whose weights all differ, in one traversal."""
    weights = [random_weights(units, seed) for seed, _ in enumerate(batches)]
    with Traversal(model, units, loss_fn, batches) as traversal:
        trip(traversal, units, weights)
        return traversal.losses().tolist()


def one_by_one(model: nn.Module, units: Units, loss_fn: Any, batches: list[Any]) -> list[float]:
    """The same from whole-model forwards."""
    return [
        float(whole(model, units, loss_fn, random_weights(units, seed), item))
        for seed, item in enumerate(batches)
    ]


def with_lane(traversal: Traversal, units: Units, lane: int, unit: int, weights: Any) -> None:
    read = (*units[unit].parameters, *units[unit].borrowed)
    with bound(read, [weights[lane][p.name] for p in read]):
        traversal.advance(lane, unit)


def twice(model: nn.Module, item: Tensor) -> Tensor:
    """Two forwards; the second depends on the first."""
    first = model(item)
    return first.square().mean() - model(first.argmax(-1)).mean()


def condition(model: nn.Module) -> list[object]:
    """All that must not change: hooks, flags, identities, memory and values."""
    hooks = [(list(m._forward_pre_hooks), list(m._forward_hooks)) for m in model.modules()]
    parameters = [(id(p), p.data_ptr(), p.requires_grad, p.grad) for p in model.parameters()]
    values = {name: t.tolist() for name, t in model.state_dict().items()}
    attributes = [sorted(vars(m)) for m in model.modules()]
    return [hooks, parameters, values, attributes, [m.training for m in model.modules()]]
