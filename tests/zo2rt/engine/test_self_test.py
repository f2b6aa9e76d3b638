"""The self-test accepts what is sound, and finds what lockstep would change."""

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.zo2rt.lanes.lockstep import Chain, Step, chain, condition, mean_square, tokens, twice
from zo2rt.engine.self_test import explore, self_test
from zo2rt.model.loss import model_loss
from zo2rt.optimizer import Objective


@pytest.mark.parametrize("family", ["opt", "llama-tied", "bert"])
def test_families_pass_and_stay_as_they_were(family: str):
    model = build(family)
    before = condition(model)
    units, forwards = self_test(model, model_loss, batch(family))
    assert (units.num_blocks, forwards) == (3, 1)
    assert condition(model) == before


def test_a_loss_with_two_forwards_passes():
    assert self_test(chain(), twice, tokens()).forwards == 2


class Remembering(Chain):
    """Keeps the embedding on the module and adds it at the end: the lanes share it."""

    def forward(self, tokens: Tensor) -> Tensor:
        self.kept = self.embed(tokens)
        hidden = self.kept
        for step in self.steps:
            hidden = step(hidden)
        return self.head(self.norm(hidden + self.kept))


def test_results_kept_on_a_module_are_found():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"forward and lane 0 in lockstep .* differ in the loss"):
        self_test(Remembering().eval(), mean_square, tokens())


class Noisy(Step):
    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden) + torch.rand(())


def test_random_numbers_are_found():
    model = chain()
    model._no_split_modules = ("Noisy",)  # pyright: ignore
    model.steps = nn.ModuleList(Noisy(4) for _ in range(3))
    with pytest.raises(ValueError, match=r"a second one .* differ in block 0 \(steps.0\)"):
        self_test(model, mean_square, tokens())


def test_the_model_is_restored_after_a_failure():
    torch.manual_seed(0)
    model = Remembering().eval()
    model(tokens())
    before = condition(model)
    with pytest.raises(ValueError, match="self-test"):
        self_test(model, mean_square, tokens())
    assert condition(model) == before


def test_hooks_that_move_weights_are_refused_with_the_reason():
    from accelerate import cpu_offload
    from accelerate.hooks import remove_hook_from_module

    model = build("opt")
    cpu_offload(model, execution_device=torch.device("cpu"))
    with pytest.raises(
        ValueError, match=r"nobody else may move weights, .*; accelerate has a hook"
    ):
        explore(model, Objective(example=batch("opt")), adapters_with_head=False)
    remove_hook_from_module(model, recurse=True)
