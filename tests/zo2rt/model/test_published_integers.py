"""Checkpoints that are quantised already: files made here word by word, and what must come out."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zo2rt.model.integers.published import Quantised, awq, gptq, pack_quantized

OUT, LENGTH, GROUP = 16, 64, 32


def drawn(dtype: torch.dtype = torch.float16, *, bits: int = 4) -> Quantised:
    """A layer with zero points of its own, in two groups."""
    drawing, top = torch.Generator().manual_seed(5), 2**bits
    groups = LENGTH // GROUP
    return Quantised(
        codes=torch.randint(0, top, (OUT, LENGTH), generator=drawing),
        zeros=torch.randint(0, top, (OUT, groups), generator=drawing),
        scales=(torch.rand((OUT, groups), generator=drawing) / 7).to(dtype),
        group_of=torch.arange(LENGTH) // GROUP,
    )


def by_hand(layer: Quantised) -> Tensor:
    """(u - z) s of every weight, one after the other, rounded to the scales' format."""
    found = torch.empty((OUT, LENGTH), dtype=layer.scales.dtype)
    for o in range(OUT):
        for i in range(LENGTH):
            g = int(layer.group_of[i])
            steps = int(layer.codes[o, i]) - int(layer.zeros[o, g])
            found[o, i] = steps * float(layer.scales[o, g])
    return found


def words(rows: Tensor, bits: int = 4) -> Tensor:
    """Each row's values side by side in 32-bit words, first values in the low bits."""
    count = 32 // bits
    packed = torch.zeros((len(rows), rows.shape[1] // count), dtype=torch.int64)
    for place in range(count):
        packed |= rows[:, place::count].to(torch.int64) << (bits * place)
    return (packed - (packed >= 2**31).to(torch.int64) * 2**32).to(torch.int32)


def through_a_file(folder: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "layer.safetensors")
    return load_file(folder / "layer.safetensors")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_compressed_tensors(tmp_path: Path, bits: int, dtype: torch.dtype):
    layer = drawn(dtype, bits=bits)
    file = through_a_file(
        tmp_path,
        {
            "weight_packed": words(layer.codes, bits),
            "weight_scale": layer.scales,
            "weight_zero_point": words(layer.zeros.t(), bits).t(),
            "weight_shape": torch.tensor([OUT, LENGTH]),
        },
    )
    assert torch.equal(pack_quantized(file, bits=bits).weights(), by_hand(layer))


def test_symmetric_compressed_tensors_count_from_the_middle(tmp_path: Path):
    layer = drawn(torch.bfloat16)
    layer.zeros.fill_(8)
    tensors = {"weight_packed": words(layer.codes), "weight_scale": layer.scales}
    file = through_a_file(tmp_path, {**tensors, "weight_shape": torch.tensor([OUT, LENGTH])})
    assert torch.equal(pack_quantized(file).weights(), by_hand(layer))


@pytest.mark.parametrize("version", [1, 2])
def test_gptq_with_its_inputs_in_any_order(tmp_path: Path, version: int):
    layer = drawn()
    order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(6))
    layer = Quantised(layer.codes, layer.zeros, layer.scales, layer.group_of[order])
    stored = (layer.zeros - 1) % 16 if version == 1 else layer.zeros
    file = through_a_file(
        tmp_path,
        {
            "qweight": words(layer.codes).t(),
            "qzeros": words(stored.t()),
            "scales": layer.scales.t(),
            "g_idx": layer.group_of.to(torch.int32),
        },
    )
    assert torch.equal(gptq(file, version=version).weights(), by_hand(layer))


def test_awq_keeps_eight_outputs_in_an_order_of_its_own(tmp_path: Path):
    layer = drawn()
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def shuffled(columns: Tensor) -> Tensor:
        return columns.view(len(columns), -1, 8)[..., order].reshape(len(columns), -1)

    file = through_a_file(
        tmp_path,
        {
            "qweight": words(shuffled(layer.codes.t())),
            "qzeros": words(shuffled(layer.zeros.t())),
            "scales": layer.scales.t(),
        },
    )
    assert torch.equal(awq(file).weights(), by_hand(layer))


@pytest.mark.skipif(
    importlib.util.find_spec("compressed_tensors") is None, reason="compressed-tensors is missing"
)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, None])
def test_what_compressed_tensors_writes_it_reads_alike(symmetric: bool, group: int | None):
    from compressed_tensors.compressors.pack_quantized.base import (  # type: ignore[import-not-found]
        PackedQuantizationCompressor as Compressor,
    )
    from compressed_tensors.quantization import (  # type: ignore[import-not-found]
        QuantizationArgs,
        QuantizationScheme,
    )

    layer = drawn(torch.bfloat16)
    groups = 2 if group else 1
    strategy: dict[str, Any] = {"strategy": "group", "group_size": 32}
    if group is None:
        strategy = {"strategy": "channel"}
    args = QuantizationArgs(num_bits=4, symmetric=symmetric, **strategy)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    state = {
        "weight": torch.randn(OUT, LENGTH).to(torch.bfloat16),
        "weight_scale": layer.scales[:, :groups].contiguous(),
        "weight_zero_point": (layer.zeros[:, :groups] - 8).to(torch.int8).contiguous(),
    }
    if symmetric:
        del state["weight_zero_point"]
    written = Compressor.compress(state, scheme)
    want = Compressor.decompress(written, scheme)["weight"]
    assert torch.equal(pack_quantized(written).weights(), want)


def test_what_is_no_layer_of_the_format_is_refused():
    layer = drawn()
    with pytest.raises(ValueError, match="must have weight_scale; it has weight_packed"):
        pack_quantized({"weight_packed": words(layer.codes)})
    packed = {"qweight": words(layer.codes).t(), "scales": layer.scales.t()}
    with pytest.raises(ValueError, match=r"must have a row per output.*got \[16, 64\], \[8, 2\]"):
        gptq({**packed, "qzeros": words(layer.zeros.t())[:, :1]})
    with pytest.raises(ValueError, match="must be int32 words of 4 or 8 bits each"):
        awq({**packed, "qzeros": layer.zeros.t(), "qweight": layer.codes})
    far = {**packed, "qzeros": words(layer.zeros.t()), "g_idx": torch.full((LENGTH,), 2)}
    with pytest.raises(ValueError, match="every input must be in one of 2 groups"):
        gptq(far)
