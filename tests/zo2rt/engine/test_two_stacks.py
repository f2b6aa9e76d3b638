"""A model with two lists of blocks: all that run are streamed, or those that are chosen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    CLIPVisionConfig,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from tests.thorough import some_of
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
        for seed in range(2):
            engine.step(rows(seed))
        number = engine.units.num_blocks
    return {name: p.detach().clone() for name, p in model.named_parameters()}, number


BOTH = "encoder.block,decoder.block"


@pytest.mark.parametrize(
    ("blocks", "number"), [("decoder.block", 2), ("encoder.block", 3), (BOTH, 5), (None, 5)]
)
def test_stacks_are_streamed_to_the_resident_bits(blocks: str | None, number: int):
    found, streamed = trained(blocks, Policy.ZO2)
    wanted, _ = trained(blocks, Policy.RESIDENT)
    assert streamed == number
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    before = dict(t5().named_parameters())
    assert not any(torch.equal(found[n], before[n]) for n in wanted if n.endswith("wi.weight"))


def test_stacks_in_another_order_than_they_run_are_refused():
    with pytest.raises(ValueError, match=r"decoder\.block"):
        trained("decoder.block,encoder.block", Policy.ZO2)


def test_what_is_no_list_is_refused():
    with pytest.raises(ValueError, match=r"blocks must name an nn\.ModuleList of"):
        trained("x", Policy.ZO2)


def _small(kind: type[PreTrainedModel], config: PreTrainedConfig) -> nn.Module:
    torch.manual_seed(0)
    return kind(config).eval()


_WIDE: dict[str, Any] = {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "d_model": 16}
_DEEP: dict[str, Any] = {"encoder_layers": 2, "decoder_layers": 3}
_HEADS: dict[str, Any] = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
_TOKENS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def bart() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = {**_WIDE, **_DEEP, **_HEADS, **_TOKENS, "vocab_size": VOCAB}
    return _small(BartForConditionalGeneration, BartConfig(**sizes)), rows(0)


def whisper() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = {**_WIDE, **_DEEP, **_HEADS, **_TOKENS, "vocab_size": VOCAB, "num_mel_bins": 4}
    sizes["decoder_start_token_id"] = 0
    config = WhisperConfig(**sizes, max_source_positions=8, max_target_positions=8)
    batch = {"input_features": torch.randn(2, 4, 16), "labels": rows(0)["labels"]}
    return _small(WhisperForConditionalGeneration, config), batch


def deberta() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    config = DebertaV2Config(**sizes, num_attention_heads=2, vocab_size=VOCAB)
    batch = {"input_ids": rows(0)["input_ids"], "labels": torch.tensor([0, 1])}
    return _small(DebertaV2ForSequenceClassification, config), batch


def electra() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes: dict[str, Any] = {"hidden_size": 16, "embedding_size": 16, "intermediate_size": 24}
    config = ElectraConfig(**sizes, num_hidden_layers=3, num_attention_heads=2, vocab_size=VOCAB)
    batch = {"input_ids": rows(0)["input_ids"], "labels": torch.tensor([0, 1])}
    return _small(ElectraForSequenceClassification, config), batch


def distilbert() -> tuple[nn.Module, dict[str, Tensor]]:
    config = DistilBertConfig(dim=16, hidden_dim=24, n_layers=3, n_heads=2, vocab_size=VOCAB)
    batch = {"input_ids": rows(0)["input_ids"], "labels": torch.tensor([0, 1])}
    return _small(DistilBertForSequenceClassification, config), batch


def llava() -> tuple[nn.Module, dict[str, Tensor]]:
    common: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**common, num_hidden_layers=3, image_size=8, patch_size=4)
    text = LlamaConfig(**common, num_hidden_layers=2, vocab_size=VOCAB + 1)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=VOCAB)
    ids = torch.cat((torch.full((2, 4), VOCAB), rows(0)["input_ids"]), dim=1)
    batch = {"input_ids": ids, "labels": ids, "pixel_values": torch.randn(2, 3, 8, 8)}
    return _small(LlavaForConditionalGeneration, config), batch


@pytest.mark.parametrize(
    ("make", "number"),
    some_of(
        [(bart, 5), (whisper, 5), (deberta, 3), (electra, 3), (llava, 5), (distilbert, 3)], every=2
    ),
)
def test_every_stack_that_runs_is_streamed(
    make: Callable[[], tuple[nn.Module, dict[str, Tensor]]], number: int
):
    """BART and Whisper, a class that names no block class, images before text."""
    found: list[list[float]] = []
    for policy in (Policy.ZO2, Policy.RESIDENT):
        torch.manual_seed(1)
        model, batch = make()
        with (
            HostBackend() as place,
            Engine(
                model,
                Plan(policy=policy),
                recipe(),
                Objective(example=batch),
                backend=place,
                optimizer=OPTIMIZER,
            ) as engine,
        ):
            found.append([engine.step(batch).loss or 0.0 for _ in range(2)])
            assert engine.units.num_blocks == number
    assert found[0] == found[1]
    assert len(set(found[0])) == 2
