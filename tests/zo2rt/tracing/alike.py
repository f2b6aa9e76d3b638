"""Whether what is traced of a config is what runs: parameters, buffers, arithmetic, and bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from tests.zo2rt.tracing.configs import Config, model_of
from zo2rt.backends import HostBackend
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.model.loss import evaluating
from zo2rt.tracing.inputs import inputs
from zo2rt.tracing.tracing import completed, of_chunks, trace
from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe

LENGTH, SHORT, STEPS = 64, 8, 3
HOW = Recipe(
    storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.FP32, sequence=SHORT
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What steps leave behind, and how many bytes each unit had."""

    losses: list[tuple[float, ...]]
    weights: dict[str, Tensor]
    unit_bytes: list[int]


def filled(batch: Mapping[str, Any], words: int, seed: int = 0) -> dict[str, Tensor]:
    """Values for what was shown without: any word, any image."""
    drawing = torch.Generator().manual_seed(seed)

    def value(tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            return torch.randn(tensor.shape, generator=drawing)
        drawn = torch.randint(1, words, tensor.shape, generator=drawing)
        return torch.where(tensor == tensor[0, 0], drawn, tensor)  # an end stays one

    return {name: value(tensor) for name, tensor in batch.items() if isinstance(tensor, Tensor)}


def loss(model: nn.Module, batch: Any) -> Tensor:
    """Of whatever the class computes first."""
    return model(**batch, return_dict=False)[0].float().pow(2).mean()


def runnable(config: Config, length: int, words: int) -> PreTrainedModel:
    """The class of a config, with what it lacks to run."""
    model = model_of(config)
    try:
        with torch.no_grad(), evaluating(model):
            loss(model, filled(inputs(model, length).batch, words))
    except AttributeError as error:
        completed(model, error)
    return model


def run(config: Config, plan: Plan, words: int) -> Run:
    torch.manual_seed(0)
    model = runnable(config, SHORT, words)
    batches = [filled(inputs(model, SHORT).batch, words, seed) for seed in range(STEPS)]
    losses: list[tuple[float, ...]] = []
    with (
        HostBackend() as backend,
        Engine(
            model,
            plan,
            HOW,
            Objective(example=batches[0], loss_fn=loss),
            backend=backend,
            optimizer=MezoSgd(lr=1e-3, eps=1e-3, seed=3),
        ) as engine,
    ):
        arena = engine._parts.arena
        unit_bytes = [arena.formats.home(unit).num_bytes for unit in engine.units.order]
        for batch in batches:
            engine.step(batch)
            losses.append(engine.record.losses)
    return Run(losses=losses, weights=dict(model.state_dict()), unit_bytes=unit_bytes)


def same(one: Run, other: Run) -> bool:
    equal = (torch.equal(t, other.weights[name]) for name, t in one.weights.items())
    return repr(one.losses) == repr(other.losses) and all(equal)  # NaN is NaN


def bits_are_resident_s(config: Config, words: int) -> tuple[bool, list[int]]:
    """Whether streaming gives the bits of a model that stays, and the bytes of its units."""
    streamed = run(config, Plan(), words)
    return same(streamed, run(config, Plan(policy=Policy.RESIDENT), words)), streamed.unit_bytes


def unit_bytes(model: Model) -> list[int]:
    return [unit.buffer_bytes(Dtype.FP32) for unit in (model.head, *model.blocks, model.tail)]


def length_for(config: Config) -> int:
    """So long that no chunk is padded."""
    text = model_of(config).config.get_text_config()
    return next((length for length, *_ in of_chunks(text)), LENGTH)


def flops_of_the_class(config: Config, words: int) -> int:
    """As PyTorch counts one forward pass of `length_for`."""
    length = length_for(config)
    model, counter = runnable(config, length, words), FlopCounterMode(display=False)
    with torch.no_grad(), evaluating(model), counter:
        model(**filled(inputs(model, length).batch, words), return_dict=False)
    return counter.get_total_flops()


def traced(config: Config) -> Model:
    return trace(config, name="it")
