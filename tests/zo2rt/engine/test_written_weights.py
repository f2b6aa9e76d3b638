"""What leaves an engine, by whatever way, is the weights of the step that it stands at."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families import batch, build
from tests.thorough import THOROUGH, examples
from tests.zo2rt.engine.engine_runs import engine, recipe
from zo2rt.engine.engine import Engine
from zo2rt.journal import DamageError, snapshot
from zo2rt.journal.durable import Disk
from zo2rt.journal.replay import weights_at
from zo2rt.weights.residence import Residence
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy

TORCH = {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16}
NVME = Plan(tier="nvme")


def llama(hidden: int, wide: int, layers: int, dtype: Dtype) -> nn.Module:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": hidden, "intermediate_size": wide}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=64, num_hidden_layers=layers, **sizes, **heads)
    model: Any = LlamaForCausalLM(config)
    return model.to(TORCH[dtype]).eval()


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    if draw(st.booleans()):
        return Plan(policy=Policy.RESIDENT)
    return Plan(
        tier=draw(st.sampled_from(["ram", "nvme"])),
        num_slots=draw(st.integers(1, 4)),
        write_back_every=draw(st.integers(1, 3)),
        resident_blocks=draw(st.integers(0, 1)),
    )


@given(
    plan=plans(),
    dtype=st.sampled_from([*TORCH]),
    size=st.sampled_from([(16, 24), (64, 128), *[(256, 704)] * THOROUGH]),
    layers=st.integers(2, 6 if THOROUGH else 3),
    shard_bytes=st.sampled_from([1, 1 << 18, snapshot.SHARD_BYTES]),
)
@settings(max_examples=examples(40))
def test_a_snapshot_holds_the_bits_in_memory(
    plan: Plan, dtype: Dtype, size: tuple[int, int], layers: int, shard_bytes: int
):
    """And so do a replay, a saved folder, and the model afterwards."""
    model, how, data = llama(*size, layers, dtype), recipe(dtype), batch("llama")
    twin = llama(*size, layers, dtype)
    with engine(twin, Plan(policy=Policy.RESIDENT), how, data) as trained:
        for seed in range(2):
            trained.step(batch("llama", seed=seed))
    want = dict(twin.named_parameters())
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        defaults: Any = snapshot.write.__kwdefaults__
        patch.setitem(defaults, "shard_bytes", shard_bytes)
        with engine(model, plan, how, data, folder=folder) as trained:
            trained.step(batch("llama", seed=0))
            trained.save(folder / "early")
            trained.step(batch("llama", seed=1))
            trained.snapshot()
            trained.save(folder / "saved")
        same(dict(snapshot.read(Disk(), newest(folder))), want)
        same(weights_at(Disk(), folder, 2), want)
        same(saved(folder / "saved"), want)
    same(dict(model.named_parameters()), want)


def newest(folder: Path) -> snapshot.Snapshot:
    found = snapshot.latest(Disk(), folder / "snapshots").snapshot
    assert found is not None
    return found


def saved(folder: Path) -> dict[str, Tensor]:
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def same(found: dict[str, Any], want: dict[str, Any]) -> None:
    assert found.keys() == want.keys()
    assert [name for name in want if not torch.equal(found[name], want[name])] == []


def test_a_snapshot_of_other_weights_is_refused_and_the_earlier_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As if a buffer were given out again while its weights wait to be written."""
    weights = Residence.weights

    def reused(self: Residence) -> Iterator[tuple[str, Tensor]]:
        staged: dict[torch.Size, Tensor] = {}
        for name, tensor in weights(self):
            yield name, staged.setdefault(tensor.shape, tensor.clone()).copy_(tensor)

    with engine(build("llama"), Plan(), recipe(), batch("llama"), folder=tmp_path) as trained:
        trained.step(batch("llama"))
        monkeypatch.setattr(Residence, "weights", reused)
        with pytest.raises(DamageError, match=r"step 1 must hold the weights, .* differ, in model"):
            trained.snapshot()
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["step-00000000"]
    assert newest(tmp_path).position.step == 0


def test_what_is_shown_of_blocks_on_nvme_is_the_file_s(tmp_path: Path):
    """No copy in memory: their pages are those of the file, which nobody else can find."""
    model = build("llama")
    with engine(model, NVME, recipe(), batch("llama"), folder=tmp_path) as trained:
        trained.step(batch("llama"))
        with trained.whole():
            shown = model.get_parameter("model.layers.1.mlp.up_proj.weight").data
            assert "blocks.bin" in mapping(shown)
    given = model.get_parameter("model.layers.1.mlp.up_proj.weight").data
    assert "blocks.bin (deleted)" in mapping(given)
    assert "blocks.bin" not in mapping(model.get_parameter("lm_head.weight").data)
    with torch.no_grad():
        given.add_(1.0)  # and may be written to as ever


def mapping(tensor: Tensor) -> str:
    """The line of /proc/self/maps that holds a tensor."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return line
    raise AssertionError("a tensor is somewhere")


@pytest.mark.parametrize("plan", [Plan(), NVME, Plan(policy=Policy.RESIDENT)], ids=str)
def test_a_model_is_saved_without_a_copy_of_it(plan: Plan, tmp_path: Path):
    """`save_pretrained` clones tensors that share a storage."""
    model = build("llama")
    with engine(model, plan, recipe(), batch("llama"), folder=tmp_path) as trained:
        trained.step(batch("llama"))
        with trained.whole():
            storages = [p.untyped_storage() for p in model.parameters()]
            assert len({storage.data_ptr() for storage in storages}) == len(storages)
            sizes = [p.numel() * p.element_size() for p in model.parameters()]
            assert [storage.nbytes() for storage in storages] == sizes


@pytest.mark.parametrize("plan", [Plan(), NVME], ids=str)
def test_after_an_error_a_model_shows_weights_of_a_step_before(plan: Plan, tmp_path: Path):
    model, twin = build("llama"), build("llama")
    with engine(twin, plan, recipe(), batch("llama"), folder=tmp_path / "twin") as trained:
        trained.step(batch("llama"))
    with (
        pytest.raises(RuntimeError, match="by hand"),
        engine(model, plan, recipe(), batch("llama"), folder=tmp_path / "run") as trained,
    ):
        fail(trained)
    same(dict(model.named_parameters()), dict(twin.named_parameters()))


def fail(trained: Engine) -> None:
    trained.step(batch("llama"))
    trained.flush()
    raise RuntimeError("by hand")
