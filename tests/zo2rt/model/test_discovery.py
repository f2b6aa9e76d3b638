"""Blocks are found without knowing the model."""

import pytest
from torch import nn
from transformers import T5Config, T5Model

from tests.families import BLOCKS, FAMILIES, found
from tests.zo2rt.lanes.lockstep import Chain, Step, chain
from zo2rt.model.discovery import Blocks, find_blocks

PATHS = {
    "opt": "model.decoder.layers",
    "gpt2": "transformer.h",
    "gpt-neox": "gpt_neox.layers",
    "bert": "bert.encoder.layer",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_found(family: str):
    model = found(family)[0]
    blocks = find_blocks(model)
    assert blocks.path == PATHS.get(family, "model.layers")
    assert blocks.modules == tuple(model.get_submodule(blocks.path).children())
    assert len(blocks.modules) == BLOCKS


class Wrapper(nn.Module):
    """As PEFT wraps a model: the wrapper itself names no block classes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.base_model = inner


def test_a_wrapper_changes_only_the_path():
    blocks = find_blocks(Wrapper(Wrapper(chain())))
    assert blocks.path == "base_model.base_model.steps"


def test_a_block_may_be_wrapped_itself():
    model = chain()
    model.steps = nn.ModuleList(Wrapper(step) for step in model.steps)
    assert find_blocks(model).modules == tuple(model.steps)


def test_ancestors_lead_from_the_model_to_the_list():
    model = found("opt")[0]
    inner = model.get_submodule("model")
    assert find_blocks(model).ancestors(model) == (model, inner, inner.get_submodule("decoder"))


def test_a_name_belongs_to_a_block_or_to_none():
    blocks = Blocks(names=("h.0", "h.1"), modules=(nn.Identity(), nn.Identity()))
    names = ("h.1.weight", "h.0.h.7.bias", "head.weight", "ln.h.0.weight")
    assert [blocks.block_of(name) for name in names] == [1, 0, None, None]


def test_two_lists_need_a_choice():
    model = T5Model(T5Config(d_model=8, num_layers=2, num_heads=2, d_ff=8, vocab_size=8, d_kv=4))
    with pytest.raises(ValueError, match=r"hold blocks of class T5Block; got encoder.block, deco"):
        find_blocks(model)
    assert len(find_blocks(model, "decoder.block").modules) == 2


def test_a_model_without_block_classes_needs_a_path():
    model = nn.Sequential(nn.ModuleList([Step(2)]))
    with pytest.raises(ValueError, match=r"Sequential: a model must name its block classes"):
        find_blocks(model)
    assert find_blocks(model, "0").path == "0"


def test_a_path_must_lead_to_a_list():
    with pytest.raises(ValueError, match=r"got 'norm', LayerNorm"):
        find_blocks(chain(), "norm")
    with pytest.raises(ValueError, match=r"got 'layers', nothing"):
        find_blocks(chain(), "layers")


def test_a_list_of_other_modules_is_not_taken():
    model = Chain(1)
    model.steps.append(nn.Identity())
    with pytest.raises(ValueError, match="of class Step; got none"):
        find_blocks(model)


def test_one_module_cannot_be_two_blocks():
    model = chain(2)
    model.steps[1] = model.steps[0]
    with pytest.raises(ValueError, match="blocks 0 and 1 are the same module"):
        find_blocks(model)
