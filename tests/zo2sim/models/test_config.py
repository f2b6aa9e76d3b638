"""Models from configs: equal to the transformers classes, counted by one rule, never half read."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.thorough import examples
from zo2sim.models.config import FAMILIES, from_config, load
from zo2sim.models.shapes import Gemm, Model, Unit

Config = dict[str, Any]

TOKENS = 7

OPT: Config = {
    "model_type": "opt",
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 24,
    "max_position_embeddings": 12,
}
GPT2: Config = {
    "model_type": "gpt2",
    "vocab_size": 40,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 12,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LLAMA: Config = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 12,
}
HEAD_DIM = LLAMA | {"head_dim": 6}
SLIDING = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}

TINY: dict[str, Config] = {
    "opt": OPT,
    "opt-350m-like": OPT | {"word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "opt-old": OPT | {"_remove_final_layer_norm": True},
    "opt-bare": OPT | {"enable_bias": False, "layer_norm_elementwise_affine": False},
    "gpt2": GPT2,
    "gpt2-inner": GPT2 | {"n_inner": 20},
    "llama": LLAMA,
    "llama-bias": HEAD_DIM | {"attention_bias": True, "mlp_bias": True},
    "llama-no-groups": {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"},
    "mistral": LLAMA | {"model_type": "mistral", "sliding_window": None},
    "qwen2": LLAMA | {"model_type": "qwen2"},
    "qwen2-sliding": LLAMA | {"model_type": "qwen2"} | SLIDING,
    "qwen3": HEAD_DIM | {"model_type": "qwen3", "attention_bias": True},
    "gemma": HEAD_DIM | {"model_type": "gemma"},
    "gemma2": HEAD_DIM | {"model_type": "gemma2"},
    "mixtral": LLAMA | {"model_type": "mixtral", "num_local_experts": 4},
    "mixtral-top3": LLAMA
    | {"model_type": "mixtral", "num_local_experts": 5, "num_experts_per_tok": 3},
}


def units(model: Model) -> tuple[Unit, ...]:
    return (model.head, *model.blocks, model.tail)


def shapes(*of: Unit) -> dict[str, tuple[int, ...]]:
    return {p.name: p.shape for unit in of for p in unit.parameters}


def real_model(config: Config, *, device: str = "meta", attention: str | None = None) -> Any:
    """The transformers class of a config, on a device without storage unless told otherwise."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    fields = {key: value for key, value in config.items() if key not in ("model_type", "id")}
    loaded = transformers.AutoConfig.for_model(config["model_type"], **fields)
    chosen = {} if attention is None else {"attn_implementation": attention}
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(loaded, **chosen)


def real_shapes(real: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in real.named_parameters()}


@pytest.mark.parametrize("tie", [{}, {"tie_word_embeddings": True}, {"tie_word_embeddings": False}])
@pytest.mark.parametrize("case", TINY)
def test_parameters_are_those_of_the_transformers_class(case: str, tie: Config):
    config = TINY[case] | tie
    model, real = from_config(config, name=case), real_model(config)
    assert shapes(*units(model)) == real_shapes(real)
    assert sum(len(unit.parameters) for unit in units(model)) == len(real_shapes(real))
    assert model.elements == sum(p.numel() for p in real.parameters())
    assert model.tied is real.config.tie_word_embeddings
    assert model.buffer_elements == sum(b.numel() for b in real.buffers())


@pytest.mark.parametrize("case", TINY)
def test_a_block_holds_one_layer(case: str):
    model, real = from_config(TINY[case], name=case), real_model(TINY[case])
    prefix = "transformer.h" if model.family == "gpt2" else "layers"
    for i, block in enumerate(model.blocks):
        mine = {n: s for n, s in real_shapes(real).items() if f"{prefix}.{i}." in n}
        assert shapes(block) == mine


@pytest.mark.parametrize("case", TINY)
def test_linear_shapes_are_the_linear_layers_of_a_block(case: str):
    torch = pytest.importorskip("torch")
    model, real = from_config(TINY[case], name=case), real_model(TINY[case])
    layers = next(m for m in real.modules() if isinstance(m, torch.nn.ModuleList))
    expected = [
        (weight.shape[1], weight.shape[0])
        if type(module).__name__ == "Conv1D"
        else tuple(weight.shape)
        for module in layers[0].modules()
        if (weight := getattr(module, "weight", None)) is not None
        and weight.dim() == 2
        and "Router" not in type(module).__name__
    ]
    for module in layers[0].modules():
        if type(module).__name__ == "MixtralExperts":
            for matrices in (module.gate_up_proj, module.down_proj):
                expected += [tuple(matrices.shape[1:])] * matrices.shape[0]
    assert sorted(model.blocks[0].linear_shapes) == sorted(expected)


# Counting rule, checked against what PyTorch dispatches


def traced(
    config: Config, monkeypatch: pytest.MonkeyPatch, dtype: str = "bfloat16"
) -> dict[str, tuple[int, int]]:
    """Launches and elements per token of head, first block and tail in a real forward."""
    torch = pytest.importorskip("torch")
    dispatch = pytest.importorskip("torch.utils._python_dispatch")
    transformers = pytest.importorskip("transformers")
    attention, masks = transformers.AttentionInterface, transformers.AttentionMaskInterface
    sdpa = attention()["sdpa"]

    def uncapped(*args: Any, softcap: float | None = None, **kwargs: Any) -> Any:
        return sdpa(*args, **kwargs)

    monkeypatch.setitem(attention._global_mapping, "uncapped", uncapped)
    monkeypatch.setitem(masks._global_mapping, "uncapped", masks()["sdpa"])
    real = real_model(config, device="cpu", attention="uncapped").to(getattr(torch, dtype)).eval()
    phase, totals = ["head"], defaultdict[str, tuple[int, int]](lambda: (0, 0))

    class Counter(dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            out = func(*args, **(kwargs or {}))
            kernels, elements = totals[phase[0]]
            launch, moved = work(func, args, out)
            totals[phase[0]] = kernels + launch, elements + moved
            return out

    layers = next(m for m in real.modules() if isinstance(m, torch.nn.ModuleList))
    layers[0].register_forward_pre_hook(lambda *_: phase.__setitem__(0, "block"))
    layers[0].register_forward_hook(lambda *_: phase.__setitem__(0, "others"))
    layers[-1].register_forward_hook(lambda *_: phase.__setitem__(0, "tail"))
    ids = torch.randint(2, 39, (1, TOKENS))
    with torch.no_grad(), Counter():
        real(input_ids=ids, use_cache=False)
    return {name: (k, e // TOKENS) for name, (k, e) in totals.items()}


NO_LAUNCH = ("_unsafe_view", "empty")
MATRIX = ("mm", "scaled_dot_product")
LOOK_UP = ("aten.embedding", "aten.index.Tensor")


def work(func: Any, args: Any, out: Any) -> tuple[int, int]:
    """Launches and activation elements of one dispatched operation."""
    name = str(func)
    if func.is_view or any(word in name for word in NO_LAUNCH):
        return 0, 0
    if any(word in name for word in MATRIX):
        return 1, 0
    written = activations(out)
    return 1, 2 * written if name.startswith(LOOK_UP) else activations(args) + written


def activations(value: Any) -> int:
    """Elements of activations, fp32 twice; integers, vectors and per-token scalars not."""
    torch = pytest.importorskip("torch")
    if isinstance(value, list | tuple):
        return sum(map(activations, value))
    is_tensor = isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter)
    if not is_tensor or not value.is_floating_point() or value.dim() < 2 or value.shape[-1] == 1:
        return 0
    return value.numel() * value.element_size() // 2 if value.numel() > TOKENS else 0


@pytest.mark.parametrize("case", TINY)
def test_traffic_is_what_a_forward_dispatches(case: str, monkeypatch: pytest.MonkeyPatch):
    model, counts = from_config(TINY[case], name=case), traced(TINY[case], monkeypatch)
    for phase, unit in (("head", model.head), ("block", model.blocks[0]), ("tail", model.tail)):
        assert (phase, *counts[phase]) == (phase, unit.kernels, unit.elementwise)


@pytest.mark.parametrize("case", TINY)
def test_casts_are_the_kernels_that_a_forward_in_fp32_does_without(
    case: str, monkeypatch: pytest.MonkeyPatch
):
    model = from_config(TINY[case], name=case)
    counts = traced(TINY[case], monkeypatch, dtype="float32")
    for phase, unit in (("head", model.head), ("block", model.blocks[0]), ("tail", model.tail)):
        assert (phase, counts[phase][0]) == (phase, unit.kernels - unit.cast_kernels)


def test_gemma2_caps_its_logits_in_three_kernels():
    capped = from_config(TINY["gemma2"], name="g")
    free = from_config(TINY["gemma2"] | {"final_logit_softcapping": None}, name="g")
    assert capped.tail.kernels - free.tail.kernels == 3
    assert capped.tail.elementwise - free.tail.elementwise == 6 * 40


# Matrix kernels


def test_gemms_of_a_mixture_see_the_routed_rows():
    block = from_config(TINY["mixtral-top3"], name="m").blocks[0]
    assert block.gemms[4:] == (
        Gemm(n=5, k=16),
        Gemm(n=48, k=16, count=5, rows_per_token=0.6),
        Gemm(n=16, k=24, count=5, rows_per_token=0.6),
    )


@pytest.mark.parametrize("case", [c for c in TINY if "mixtral" not in c])
def test_dense_blocks_multiply_every_matrix_once(case: str):
    block = from_config(TINY[case], name=case).blocks[0]
    matrices = sum(p.elements for p in block.parameters if len(p.shape) == 2)
    assert sum(g.n * g.k * g.count * g.rows_per_token for g in block.gemms) == matrices


@pytest.mark.parametrize("case", TINY)
def test_the_tail_multiplies_by_the_lm_head_tied_or_not(case: str):
    tied = from_config(TINY[case] | {"tie_word_embeddings": True}, name=case)
    untied = from_config(TINY[case] | {"tie_word_embeddings": False}, name=case)
    width = 8 if case == "opt-350m-like" else 16
    assert tied.tail.gemms == untied.tail.gemms
    assert untied.tail.gemms[-1] == Gemm(n=40, k=width)
    assert untied.elements - tied.elements == 40 * width


def test_windows_alternate_in_gemma2_and_start_late_in_qwen2():
    gemma = from_config(TINY["gemma2"] | {"sliding_window": 8}, name="g")
    qwen = from_config(TINY["qwen2-sliding"], name="q")
    assert [a.window for b in gemma.blocks for a in b.attentions] == [8, None, 8]
    assert [a.window for b in qwen.blocks for a in b.attentions] == [None, 8, 8]


def test_equal_blocks_differ_in_names_only():
    blocks = from_config(LLAMA, name="l").blocks
    first = blocks[0].parameters
    assert [replace(b, parameters=first) for b in blocks] == [blocks[0]] * 3


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size in the config must be a whole number .* got None"),
        ({"hidden_size": 18}, "hidden_size must be a multiple of num_attention_heads; got 18 and"),
        ({"num_key_value_heads": 3}, "must be a multiple of num_key_value_heads; got 4 and 3"),
        ({"vocab_size": 0}, "vocab_size .* got 0"),
        ({"vocab_size": -1}, "vocab_size .* got -1"),
        ({"vocab_size": float("nan")}, "vocab_size .* got nan"),
        ({"vocab_size": True}, "vocab_size .* got True"),
        ({"vocab_size": 10**9999}, "vocab_size .* got a whole number of 33216 bits"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers .* from 1 to 10000; got 1000000"),
        ({"head_dim": 3}, "head_dim .* must be a multiple of 2"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings .* true or false; got 'no'"),
        ({"hidden_act": "sine"}, "hidden_act .* one of relu, .* got 'sine'"),
        ({"model_type": "t5"}, "model_type .* one of gemma, .* got 't5'"),
        ({"model_type": ["llama"]}, "model_type .* got "),
    ],
)
def test_malformed_values_are_refused_by_name(changes: Config, message: str):
    with pytest.raises(ValueError, match=f"^tiny: .*{message}"):
        from_config(LLAMA | changes, name="tiny")


@pytest.mark.parametrize("config", [OPT, GPT2, LLAMA])
def test_a_missing_key_is_refused_by_name(config: Config):
    optional = ("num_key_value_heads", "bos_token_id", "eos_token_id")
    required = {k for k in config if k not in optional}
    required -= {"max_position_embeddings"} if config is LLAMA else set()
    for key in required:
        rest = {k: v for k, v in config.items() if k != key}
        with pytest.raises(ValueError, match=f"{key} in the config must be .* got no such key"):
            from_config(rest, name="tiny")


def test_special_refusals():
    with pytest.raises(ValueError, match="num_experts_per_tok must be at most num_local_experts"):
        from_config(TINY["mixtral"] | {"num_experts_per_tok": 5}, name="m")
    with pytest.raises(ValueError, match="layer_types in the config must be a list of 3 of"):
        from_config(TINY["gemma2"] | {"layer_types": ["full_attention"]}, name="m")
    with pytest.raises(ValueError, match="add_cross_attention must be false"):
        from_config(GPT2 | {"add_cross_attention": True}, name="m")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 20)
    | st.floats()
    | st.sampled_from([*FAMILIES, "relu", "silu", "full_attention", 10**4000])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = sorted({k for config in TINY.values() for k in config} | {"layer_types", "hidden_act"})


@settings(max_examples=examples(400), deadline=None)
@given(
    st.sampled_from(sorted(TINY)),
    st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4),
    st.sets(st.sampled_from(KEYS), max_size=2),
)
def test_a_config_gives_a_model_or_one_line(case: str, changes: Config, dropped: set[str]):
    config = {k: v for k, v in (TINY[case] | changes).items() if k not in dropped}
    model = model_or_message(config)
    if isinstance(model, str):
        assert model.startswith("fuzz: ")
        assert len(model.splitlines()) == 1
    else:
        assert model.elements > 0
        assert hash(model) == hash(from_config(config, name="fuzz"))


def model_or_message(config: Config) -> Model | str:
    try:
        return from_config(config, name="fuzz")
    except ValueError as error:
        return str(error)


# Files


def test_load_reads_a_file_or_its_folder(tmp_path: Path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert load(folder) == load(folder / "config.json") == from_config(LLAMA, name="my-model")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"[1]", b"null", b'"opt"']
)
def test_unreadable_files_are_refused_in_one_line(tmp_path: Path, content: bytes):
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="must be") as caught:
        load(file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"must be a readable config\.json or a folder"):
        load(tmp_path)
