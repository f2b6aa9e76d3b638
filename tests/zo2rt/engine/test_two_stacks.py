"""A model with two lists of blocks: the one that is chosen is streamed, the other stays."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from zo2rt.backends import HostBackend
from zo2rt.engine.engine import Engine, Objective
from zo2sim.plan.choices import Plan, Policy

VOCAB = 32


def t5() -> nn.Module:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_heads": 2, "num_layers": 3}
    ends: dict[str, Any] = {"num_decoder_layers": 2, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=VOCAB, **sizes, **ends)).eval()


def rows(seed: int) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    inputs, labels = (torch.randint(1, VOCAB, (2, n), generator=drawn) for n in (6, 4))
    return {"input_ids": inputs, "labels": labels}


def trained(blocks: str | None, policy: Policy) -> tuple[dict[str, Tensor], int]:
    model = t5()
    with (
        HostBackend() as place,
        Engine(
            model,
            Plan(policy=policy),
            recipe(),
            Objective(example=rows(0), blocks=blocks),
            backend=place,
            optimizer=OPTIMIZER,
        ) as engine,
    ):
        for seed in range(3):
            engine.step(rows(seed))
        number = engine.units.num_blocks
    return {name: p.detach().clone() for name, p in model.named_parameters()}, number


@pytest.mark.parametrize(("blocks", "number"), [("decoder.block", 2), ("encoder.block", 3)])
def test_either_stack_is_streamed_to_the_resident_bits(blocks: str, number: int):
    found, streamed = trained(blocks, Policy.ZO2)
    wanted, _ = trained(blocks, Policy.RESIDENT)
    assert streamed == number
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    before = dict(t5().named_parameters())
    assert not any(torch.equal(found[n], before[n]) for n in wanted if n.endswith("wi.weight"))


def test_the_refusal_names_what_there_is_to_choose_with():
    message = r"got encoder.block, decoder.block; choose one with Objective\(blocks='...'\)"
    with pytest.raises(ValueError, match=message):
        trained(None, Policy.ZO2)
    with pytest.raises(ValueError, match=r"blocks must name an nn\.ModuleList of"):
        trained("x", Policy.ZO2)
