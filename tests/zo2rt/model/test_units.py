"""Units own every parameter once, in the layout that the predictor assumes."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from tests.families import FAMILIES, batch, found
from tests.zo2rt.lanes.lockstep import Chain, chain, mean_square, tokens, units_of
from zo2rt.model.decay import by_name, by_type
from zo2rt.model.discovery import Blocks
from zo2rt.model.loss import model_loss
from zo2rt.model.units import Unit, UnitParameter, find_units
from zo2sim.dtypes import Dtype
from zo2sim.models import shapes
from zo2sim.models.config import from_config
from zo2sim.schedule.ops import HEAD, TAIL


def names(parameters: tuple[UnitParameter, ...]) -> list[str]:
    return [p.name for p in parameters]


def test_the_final_norm_is_the_tails_wherever_it_is_registered():
    units = units_of(chain(2))
    assert [unit.name for unit in units.order] == ["head", "0", "1", "tail"]
    assert [names(unit.parameters) for unit in units.order] == [
        ["embed.weight"],
        ["steps.0.linear.weight", "steps.0.linear.bias"],
        ["steps.1.linear.weight", "steps.1.linear.bias"],
        ["norm.weight", "norm.bias", "head.weight"],
    ]
    assert not units.tied


def test_a_tied_head_is_owned_by_the_head_and_borrowed_by_the_tail():
    units = units_of(chain(tied=True))
    assert names(units[HEAD].parameters) == names(units[TAIL].borrowed) == ["embed.weight"]
    assert names(units[TAIL].parameters) == ["norm.weight", "norm.bias"]
    assert units.tied


def test_a_parameter_shared_by_blocks_is_resident():
    model = chain(3)
    model.linear(2).weight = model.linear(1).weight
    units = units_of(model)
    shared = ["steps.1.linear.weight"]
    assert [names(unit.borrowed) for unit in units.order] == [[], [], shared, shared, []]
    assert names(units[HEAD].parameters) == ["embed.weight", *shared]


class Peeking(Chain):
    """The tail multiplies by a bias of block 0, which no module structure shows."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(tokens) * self.linear(0).bias[0]


def test_a_block_parameter_read_elsewhere_is_resident():
    units = units_of(Peeking(2))
    assert names(units[TAIL].borrowed) == names(units[0].borrowed) == ["steps.0.linear.bias"]


class Asking(Chain):
    """The tail asks a parameter of block 0 for its format and its dimensions."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = super().forward(tokens)
        return logits.to(self.linear(0).bias.dtype) * self.linear(0).bias.ndim


def test_a_look_at_a_parameter_is_no_use():
    assert units_of(Asking(2))[TAIL].borrowed == ()


def test_a_parameter_that_nothing_reads_goes_by_its_place():
    model = chain(1)
    model.register_parameter("before", nn.Parameter(torch.zeros(2)))  # a model's own come first
    model.after = nn.Linear(1, 1)
    units = units_of(model)
    assert "before" in names(units[HEAD].parameters)
    assert names(units[TAIL].parameters)[-2:] == ["after.weight", "after.bias"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_owned_once_and_numbered_in_the_whole_model(family: str):
    model, units = found(family)
    expected = [(i, name, id(p)) for i, (name, p) in enumerate(model.named_parameters())]
    assert [(p.index, p.name, id(p.tensor)) for p in units.parameters] == expected


@pytest.mark.parametrize("family", ["opt", "gpt2", "llama", "llama-tied", "gemma2", "mixtral"])
def test_the_predictor_has_the_same_units(family: str):
    model, units = found(family)
    predicted = from_config(_config(model), name=family)
    assert units.tied == predicted.tied
    described = [set(map(described_as, unit.parameters)) for unit in units.order]
    units_predicted = (predicted.head, *predicted.blocks, predicted.tail)
    assert described == [set(unit.parameters) for unit in units_predicted]
    for unit, other in zip(units.order, units_predicted, strict=True):
        for dtype in Dtype:
            assert unit.layout(dtype, Dtype.BF16).num_bytes == other.buffer_bytes(dtype, Dtype.BF16)


def _config(model: nn.Module) -> Mapping[str, object]:
    assert isinstance(model, PreTrainedModel)
    return model.config.to_dict()


def described_as(parameter: UnitParameter) -> shapes.Parameter:
    """The same as the predictor knows it."""
    return shapes.Parameter(name=parameter.name, shape=parameter.shape)


def handmade(*sizes: tuple[int, ...], trainable: bool = True) -> Unit:
    return Unit(
        number=0,
        parameters=tuple(
            UnitParameter(
                index=i,
                name=f"p{i}",
                shape=shape,
                trainable=trainable,
                decays=False,
                tensor=nn.Parameter(torch.zeros(shape)),
            )
            for i, shape in enumerate(sizes)
        ),
    )


def test_tensors_start_at_multiples_of_256_bytes():
    unit = handmade((64,), (65,), (2, 3))
    assert [piece.start for piece in unit.layout(Dtype.FP32).pieces] == [0, 256, 768]
    assert [piece.start for piece in unit.layout(Dtype.BF16).pieces] == [0, 256, 512]
    described = shapes.Unit(parameters=tuple(map(described_as, unit.parameters)))
    for dtype in Dtype:
        assert unit.layout(dtype, Dtype.FP16).num_bytes == described.buffer_bytes(dtype, Dtype.FP16)


def test_a_frozen_unit_draws_no_noise():
    assert names(handmade((64,), (6,)).trained) == ["p0", "p1"]
    assert handmade((64,), (6,), trainable=False).trained == ()


def test_adapters_can_stay_with_the_head():
    model = chain(2)
    model.requires_grad_(False)
    for block in range(2):
        model.linear(block).bias.requires_grad_(True)
    biases = ["steps.0.linear.bias", "steps.1.linear.bias"]
    inside = find_units(model, mean_square, tokens())
    assert names(inside[0].trained) == biases[:1]
    outside = find_units(model, mean_square, tokens(), adapters_with_head=True)
    assert names(outside[HEAD].trained) == biases
    assert [names(outside[b].borrowed) for b in (0, 1)] == [biases[:1], biases[1:]]
    assert [outside[b].trained for b in (0, 1)] == [(), ()]


def test_buffers_belong_to_their_block_or_to_the_head():
    model = chain(2)
    model.register_buffer("table", torch.zeros(3))
    model.steps[1].register_buffer("mask", torch.zeros(2), persistent=False)
    units = units_of(model)
    assert [sorted(unit.buffers) for unit in units.order] == [["table"], [], ["steps.1.mask"], []]


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "bert", "gemma2", "mixtral"])
def test_matrices_decay_and_nothing_else(family: str):
    for parameter in found(family)[1].parameters:
        matrix = len(parameter.shape) > 1
        assert parameter.decays == matrix, parameter.name


def test_a_bias_of_two_dimensions_does_not_decay():
    bias = nn.Parameter(torch.zeros(4, 8))
    assert not by_type(nn.Module(), "experts.down_proj_bias", bias)
    assert by_type(nn.Module(), "experts.down_proj", bias)
    assert not by_type(nn.GroupNorm(1, 1), "g.weight", bias)


def test_the_published_rule_misses_other_names():
    rule = by_name("bias", "layer_norm", "layernorm")
    gpt2 = find_units(found("gpt2")[0], model_loss, batch("gpt2"), decays=rule)
    decays = {p.name for p in gpt2.parameters if p.decays}
    assert "transformer.h.0.ln_1.weight" in decays
    assert "transformer.h.0.ln_1.bias" not in decays
    assert not rule(nn.Module(), "h.0.final_layer_norm.weight", nn.Parameter(torch.zeros(2, 2)))


def test_blocks_can_be_given():
    model = chain(2)
    blocks = Blocks.at(model, "steps")
    assert find_units(model, mean_square, tokens(), blocks=blocks).blocks is blocks
