"""Models of synthetic weights, and adapters without PEFT: they run as the predictor knows them."""

from dataclasses import replace

import pytest
import torch

from experiments.campaign.designs import opt, recipe
from zo2rt.backends import HostBackend
from zo2rt.measure.card import CardSpecs
from zo2rt.measure.runs import RunSpec, opened
from zo2rt.measure.sustained import LargeProduct
from zo2rt.measure.synthetic import synthetic_model
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan

SPEC = RunSpec(
    name="small",
    config=opt(64, 3, vocab=256),
    plan=Plan(),
    recipe=recipe(batch=1, sequence=16, storage=Dtype.BF16),
)
LORA = replace(SPEC, recipe=replace(SPEC.recipe, trainable="lora:4"))


@pytest.mark.parametrize("spec", [SPEC, LORA], ids=["all", "lora"])
def test_it_runs_the_schedule_that_was_predicted(spec: RunSpec):
    with opened(spec, HostBackend, synthetic_model) as running:
        running.steps_s(2)
        assert running.measured().divergence is None
        assert all(loss == loss for loss in running.engine.record.losses)


def test_weights_are_as_random_as_a_model_s_and_in_its_format():
    model = synthetic_model(SPEC)
    weight = model.model.decoder.layers[0].fc1.weight
    assert weight.dtype is torch.bfloat16
    assert float(weight.detach().float().std()) == pytest.approx(0.02, rel=0.05)
    assert torch.equal(
        model.model.decoder.layers[0].final_layer_norm.weight.float(), torch.ones(64)
    )
    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight
    assert not model.training


def test_with_adapters_only_they_train():
    trained = {n for n, p in synthetic_model(LORA).named_parameters() if p.requires_grad}
    assert len(trained) == 3 * 6 * 2
    assert all(name.endswith((".down.weight", ".up.weight")) for name in trained)


def test_a_large_product_is_timed_in_bursts_and_in_windows():
    with HostBackend() as backend:
        product = LargeProduct.of(backend, Dtype.FP32, 16)
        assert product.flops == 2.0 * 16**3
        assert len(product.burst_s()) == 5
        windows_s = [*product.windows_s(0.05, window_s=0.01)]
    assert all(seconds > 0.0 for seconds in windows_s)
    assert windows_s


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [
        *(((7, 0), "volta"), ((7, 5), "turing"), ((8, 6), "ampere"), ((8, 9), "ada")),
        *(((9, 0), "hopper"), ((10, 0), "blackwell"), ((12, 0), "blackwell")),
    ],
)
def test_a_card_has_the_class_of_its_capability(capability: tuple[int, int], architecture: str):
    card = CardSpecs(name="any", memory_bytes=1, num_sms=1, capability=capability)
    assert card.architecture == architecture
