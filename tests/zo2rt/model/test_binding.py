"""Weights come and go under the parameters; the parameters stay."""

import pytest
import torch
from torch import Tensor, nn

from tests.zo2rt.lanes.lockstep import bind, chain, mean_square, random_weights, tokens, units_of
from zo2rt.model.binding import bound
from zo2rt.model.codec import encode, views
from zo2rt.model.units import Units
from zo2sim.dtypes import Dtype
from zo2sim.schedule.ops import HEAD


def pointers(model: nn.Module) -> list[tuple[int, int, bool]]:
    """Identity, memory and flag of every parameter."""
    return [(id(p), p.data_ptr(), p.requires_grad) for p in model.parameters()]


@pytest.mark.parametrize("dtype", [Dtype.FP32, Dtype.BF16, Dtype.FP16])
def test_a_flat_buffer_serves_as_the_weights(dtype: Dtype):
    model = chain()
    unit, values = units_of(model)[0], model.linear(0).weight.detach().clone()
    layout = unit.layout(dtype)
    buffer = torch.zeros(layout.num_bytes, dtype=torch.uint8)
    encode([p.tensor.detach() for p in unit.parameters], buffer, layout)
    with bound(unit.parameters, views(buffer, layout)):
        assert model.linear(0).weight.data_ptr() == buffer.data_ptr()
        assert torch.equal(model.linear(0).weight, values.to(model.linear(0).weight.dtype))
        assert model.linear(0).weight.element_size() == dtype.bytes
    assert torch.equal(model.linear(0).weight, values)


def test_bound_weights_are_what_the_model_computes_with():
    model = chain()
    units = units_of(model)
    before, expected = pointers(model), chain(seed=7)
    weights = dict(expected.named_parameters())
    with bind(units, {name: p.detach() for name, p in weights.items()}):
        assert torch.equal(model(tokens()), expected(tokens()))
        assert [p.data_ptr() for p in model.parameters()] == [
            p.data_ptr() for p in weights.values()
        ]
    assert pointers(model) == before


def test_a_tied_parameter_changes_in_both_places():
    model = chain(tied=True)
    units = units_of(model)
    with bound(units[HEAD].parameters, [torch.ones(8, 4)]):
        assert torch.equal(model.head.weight, torch.ones(8, 4))


def test_another_dtype_may_be_bound():
    model = chain()
    units = units_of(model)
    state = {name: t.clone() for name, t in model.state_dict().items()}
    with bind(units, {n: t.bfloat16() for n, t in random_weights(units, 0).items()}):
        assert model(tokens()).dtype is torch.bfloat16
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


def test_inference_mode_changes_nothing():
    model = chain()
    units, before = units_of(model), pointers(model)
    with torch.inference_mode(), bind(units, random_weights(units, 0)):
        model(tokens())
    assert pointers(model) == before
    mean_square(model, tokens()).backward()
    assert model.head.weight.grad is not None


def test_an_error_inside_restores_the_parameters():
    model = chain()
    units, before = units_of(model), pointers(model)
    with pytest.raises(KeyError), bind(units, random_weights(units, 0)):
        raise KeyError
    assert pointers(model) == before


def test_an_error_while_binding_restores_the_parameters():
    model = chain()
    units, before = units_of(model), pointers(model)
    head = units[HEAD].parameters[0]
    with (
        pytest.raises(ValueError, match=r"embed.weight must be bound to a .* \(8, 4\); got \(4, 8"),
        bound([head], [torch.zeros(4, 8)]),
    ):
        pass
    sparse = torch.zeros(4, 4).to_sparse()  # refused by PyTorch itself, after the first exchange
    with pytest.raises(RuntimeError), bound((head, units[0].parameters[0]), [zeros(units), sparse]):
        pass
    assert pointers(model) == before


def zeros(units: Units) -> Tensor:
    return torch.zeros(units[HEAD].parameters[0].shape)


def test_autocast_does_not_keep_the_former_weights():
    model = chain()
    units = units_of(model)
    one, two = random_weights(units, 1), random_weights(units, 2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        with bind(units, two):
            expected = model(tokens())
        with bind(units, one):
            model(tokens())
        with bind(units, two):
            assert torch.equal(model(tokens()), expected)
