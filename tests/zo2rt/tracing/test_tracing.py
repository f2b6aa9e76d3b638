"""Traced models: what their classes hold, what a counter of arithmetic counts, and refusals."""

from collections import Counter
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.by_shard import BY_SHARD
from tests.zo2rt.tracing.configs import CONFIGS, Config, model_of, real, traced
from tests.zo2sim.models.test_config import TINY
from zo2rt.model.units import find_units
from zo2rt.tracing.attention import Kept, kept
from zo2rt.tracing.fitting import _size
from zo2rt.tracing.inputs import inputs
from zo2rt.tracing.shadow import Shadow
from zo2rt.tracing.stacks import running
from zo2rt.tracing.tracing import _made_for, trace
from zo2sim.dtypes import Dtype
from zo2sim.models.config import from_config
from zo2sim.models.shapes import Attention, Gemm, Model, Unit

LENGTH = 64


@cache
def read(case: str) -> Model:
    return trace(TINY[case], name=case)


def units(model: Model) -> tuple[Unit, ...]:
    return (model.head, *model.blocks, model.tail)


@pytest.mark.parametrize("case", CONFIGS)
def test_parameters_are_those_of_the_class_each_once(case: str):
    model, shapes = traced(case), {n: tuple(p.shape) for n, p in real(case).named_parameters()}
    assert {p.name: p.shape for unit in units(model) for p in unit.parameters} == shapes
    assert model.elements == sum(p.numel() for p in real(case).parameters())


@pytest.mark.parametrize(
    "case", [case for case in CONFIGS if case != "mamba2"]
)  # which is below, at more tokens
def test_arithmetic_is_what_pytorch_counts(case: str):
    model, counter = real(case), FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(**filled(inputs(model, LENGTH).batch))
    assert traced(case).flops(1, LENGTH) == pytest.approx(counter.get_total_flops(), rel=0.01)


def filled(batch: Any) -> dict[str, Any]:
    """Values for what was shown without."""
    return {
        key: torch.randn(value.shape)
        if isinstance(value, torch.Tensor) and value.is_meta
        else value
        for key, value in batch.items()
    }


@pytest.mark.parametrize("case", CONFIGS)
def test_units_are_the_runtime_s_to_the_byte(case: str):
    model = real(case)
    batch = filled(inputs(model, 8).batch)
    with torch.no_grad():
        blocks = running(model, batch)
        found = find_units(
            model, lambda model, batch: model(**batch)[0].sum(), batch, blocks=blocks
        )
    for mine, theirs in zip(units(traced(case)), found.order, strict=True):
        assert mine.buffer_bytes(Dtype.BF16) == theirs.layout(Dtype.BF16).num_bytes
        assert [p.name for p in mine.borrowed] == [p.name for p in theirs.borrowed]


@BY_SHARD  # readers count what the classes of such a version run
@pytest.mark.parametrize("case", TINY)
def test_a_family_s_reader_says_what_is_traced(case: str):
    mine, theirs = from_config(TINY[case], name=case), read(case)
    for name in ("elements", "hidden", "vocab", "max_positions", "learned", "buffer_elements"):
        assert (name, getattr(mine, name)) == (name, getattr(theirs, name))
    for a, b in zip(units(mine), units(theirs), strict=True):
        assert {(p.name, p.shape) for p in a.parameters} == {
            (p.name, p.shape) for p in b.parameters
        }
        assert [p.shape for p in a.borrowed] == [p.shape for p in b.borrowed]
        assert Counter(a.gemms) == Counter(b.gemms)
        assert a.attentions == b.attentions
        assert sorted(a.linear_shapes) == sorted(b.linear_shapes)
        assert (a.kernels, a.cast_kernels) == (b.kernels, b.cast_kernels)
        assert a.moved(1, LENGTH) == b.moved(1, LENGTH)


@pytest.mark.parametrize("case", [case for case in TINY if "mixtral" not in case])
def test_a_family_s_reader_knows_what_fp32_does_without(case: str):
    """But for the rotary table, once per forward, and a router, of which it leaves the casts in."""
    mine, theirs = from_config(TINY[case], name=case), read(case)
    for a, b in zip(units(mine)[1:], units(theirs)[1:], strict=True):
        assert a.cast_elements == b.cast_elements


# What kinds of models do


def test_blocks_may_differ():
    kinds = [len(set(traced(case).first_alike)) for case in ("qwen3-moe", "deepseek", "qwen3.5")]
    assert kinds == [2, 2, 2]
    assert [a.window for b in traced("gpt-oss").blocks for a in b.attentions] == [32, None, 32]


def test_latent_attention_has_two_widths():
    (attention,) = traced("deepseek").blocks[0].attentions
    assert attention == Attention(heads=4, kv_heads=4, head_dim=24, value_dim=20)


def test_experts_see_the_routed_rows():
    dense, routed, _ = traced("qwen3-moe").blocks
    assert all(gemm.count == 1 for gemm in dense.gemms)
    assert routed.gemms[-3:] == (
        Gemm(n=8, k=64),
        Gemm(n=96, k=64, count=8, rows_per_token=0.25),
        Gemm(n=64, k=48, count=8, rows_per_token=0.25),
    )
    assert routed.linear_shapes[-16:] == ((96, 64),) * 8 + ((64, 48),) * 8


def test_a_recurrence_launches_kernels_for_every_token():
    block = traced("mamba").blocks[0]
    assert block.kernels_per_token == 4
    assert Gemm(n=1, k=8, rows_per_token=112) in block.gemms


def test_a_recurrence_in_long_chunks_is_counted_over_several():
    config = CONFIGS["mamba2"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model_of(config)(input_ids=torch.ones(1, 1024, dtype=torch.long))
    assert traced("mamba2").flops(1, 1024) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_attention_to_parts_that_do_not_grow_evenly_is_refused():
    with pytest.raises(ValueError, match=r"got 40, 40, 80 at 128, 192, 256$"):
        _size((128, 192, 256), (40, 40, 80))
    assert _size((128, 192, 256), (128, 192, 256)) == (None, 0.0)
    assert _size((128, 192, 256), (50, 50, 50)) == (50, 0.0)
    assert _size((128, 192, 256), (160, 240, 320)) == (0, 1.25)
    assert _size((128, 192, 256), (160, 224, 288)) == (32, 1.0)


def test_a_class_that_multiplies_all_pairs_is_not_fused():
    block = traced("bloom").blocks[0]
    expected = Attention(heads=4, kv_heads=4, head_dim=16, causal=False, fused=False)
    assert block.attentions == (expected,)
    assert block.elementwise_per_pair > 0


def test_an_encoder_s_frames_and_an_image_s_patches_are_there_once_per_sequence():
    encoder, *_, decoder = traced("whisper").blocks
    own, across = decoder.attentions
    assert (encoder.attentions[0].queries, encoder.attentions[0].keys) == (24, 24)
    assert (own.keys, across.queries, across.keys) == (None, None, 24)
    assert {g.rows_per_token for g in encoder.gemms} == {0.0}
    assert {(g.rows_per_token, g.rows_per_sequence) for g in traced("vit").blocks[0].gemms} == {
        (0.0, 17.0)
    }


def test_a_length_that_is_none_is_not_one():
    assert _made_for(SimpleNamespace(max_position_embeddings=-1)) is None  # XLNet's
    assert _made_for(SimpleNamespace(max_position_embeddings=None, seq_length=512)) == 512


def test_prompts_before_the_tokens_are_queries_and_keys():
    (attention,) = traced("cpmant").blocks[0].attentions
    assert (attention.queries, attention.queries_per_token) == (32, 1.0)
    assert (attention.num_keys(64), attention.heads) == (96, 4)


def test_sound_is_counted_in_frames():
    assert traced("wav2vec2").notes[1:] == (
        "a sequence's length is counted in frames of 20 samples",
    )
    assert traced("wav2vec2").blocks[0].attentions == (
        Attention(heads=4, kv_heads=4, head_dim=16, causal=False),
    )


def test_positions_are_counted_where_a_table_has_a_row_for_each():
    limits = {case: traced(case).max_positions for case in CONFIGS if traced(case).learned}
    found = {"bert": 512, "roberta": 513, "bart": 512, "longformer": 511, "whisper": 64}
    assert limits == found


def test_notes_say_what_was_decided_about_inputs():
    assert traced("t5").notes[1:] == (
        "as many target tokens as source tokens, and sequence counts either",
    )
    assert traced("vit").notes[1:] == ("a sequence is an image of 32 x 32, whatever its length",)


def test_masks_are_asked_what_they_keep():
    def causal(b: Any, h: Any, q: Any, k: Any) -> Any:
        return k <= q

    assert kept(causal) == Kept(causal=True)
    assert kept(lambda b, h, q, k: (k <= q) & (k > q - 7)) == Kept(causal=True, window=7)
    assert kept(lambda b, h, q, k: (k - q).abs() <= 7) == Kept(causal=False, window=7)
    assert kept(lambda b, h, q, k: (k <= q) & (k // 12 == q // 12)) == Kept(causal=True, chunk=12)


def test_a_mask_s_table_of_positions_goes_on_as_it_ends():
    image = torch.tensor([[0, 0, -1]])

    def causal_or_of_one_image(b: Any, h: Any, q: Any, k: Any) -> Any:
        return (k <= q) | ((image[b, q] == image[b, k]) & (image[b, q] >= 0))

    assert kept(causal_or_of_one_image) == Kept(causal=True)


def test_experts_that_are_chosen_by_value_get_equal_shares():
    with Shadow(masks=True):
        scores = torch.empty(4, 6, device="meta")
        chosen, best = scores.topk(3, dim=-1).indices, scores.argmax(dim=-1)
    assert chosen.tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5]]
    assert best.tolist() == [0, 1, 2, 3]
    into = Gemm(n=112, k=64, count=6, rows_per_token=1 / 6)
    assert [into in block.gemms for block in traced("switch").blocks] == [False, True] * 2


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mystery"}, "model_type in the config must be one that .* got 'mystery'"),
        (
            {"model_type": "mystery", "auto_map": {"AutoConfig": "code.C"}},
            r"code that comes with a model \(auto_map\) is never run here",
        ),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers must be at most 10000; got 1000000"),
        ({"num_experts": 10**6}, "num_experts must be at most 32768; got 1000000"),
        ({"hidden_size": "wide"}, "must be able to build the model of the config; got "),
        ({"hidden_size": -1}, "must be able to build the model of the config; got "),
        ({"num_attention_heads": 0}, "must be able to build the model of the config; got "),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(changes: Config, message: str):
    with pytest.raises(ValueError, match=f"^tiny: .*{message}") as caught:
        trace(CONFIGS["qwen3-moe"] | changes, name="tiny")
    assert len(str(caught.value).splitlines()) == 1


def test_a_block_that_runs_twice_is_refused_as_the_runtime_refuses_it():
    shared = CONFIGS["bert"] | {
        "model_type": "albert",
        "architectures": ["AlbertForMaskedLM"],
        "embedding_size": 32,
    }
    with pytest.raises(ValueError, match=r"must run once and in order.* block 0 .* ran again"):
        trace(shared, name="albert")


def test_what_hangs_on_a_value_is_said_to():
    scores = torch.empty(4, 6, device="meta")
    for ask in (torch.nonzero, torch.Tensor.item, lambda t: t[t > 0]):
        with (
            pytest.raises(RuntimeError, match="a value that is computed decides what runs next"),
            Shadow(masks=True),
        ):
            ask(scores[:1, 0] if ask is torch.Tensor.item else scores)


def test_code_that_comes_with_a_known_model_is_not_run(monkeypatch: pytest.MonkeyPatch):
    """The class of transformers is taken; where the code would be is not even looked up."""
    remote = {"auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    assert trace(CONFIGS["phi3"] | remote, name="it") == traced("phi3")
