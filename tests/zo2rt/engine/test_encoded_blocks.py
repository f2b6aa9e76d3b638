"""Frozen blocks in an integer format: the bits of `resident` with every plan, to the byte."""

from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.families import SEQUENCE, batch, build
from tests.strategies import encoded
from tests.thorough import crossed, examples
from tests.zo2rt.engine.adapted_models import adapted
from tests.zo2rt.engine.engine_runs import engine, losses_of
from tests.zo2rt.engine.test_trainer import arguments, trainer
from zo2rt.backends import HostBackend, VirtualBackend
from zo2rt.engine import contents
from zo2rt.memory.demand import demand
from zo2rt.model.codec import TORCH_DTYPES
from zo2rt.model.loss import model_loss
from zo2rt.weights.block_store import BlockStore
from zo2rt.weights.formats import Formats
from zo2sim.dtypes import Dtype
from zo2sim.memory.account import MemoryPlace
from zo2sim.memory.pinned import whole_pages
from zo2sim.memory.runtime import ARENA, account
from zo2sim.models.config import from_config
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe

pytestmark = [  # PEFT 0.21 with transformers 5.24
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
]

INTEGERS = (Dtype.INT8, Dtype.INT4, Dtype.INT4_ASYM)
FAMILIES = ("llama", "opt", "gpt2", "mixtral")
INT4 = Recipe(trainable="lora:2", storage_dtype=Dtype.INT4, compute_dtype=Dtype.FP32, sequence=8)
PLANS = {
    "zo2": Plan(),
    "one slot, both at once": Plan(num_slots=1, scratch_copies=2),
    "one block resident": Plan(resident_blocks=1),
    "blocks on NVMe": Plan(tier="nvme"),
    "resident": Plan(policy=Policy.RESIDENT),
}


class Trained(NamedTuple):
    """What a run leaves behind; ``weights`` as the model has them afterwards."""

    losses: list[tuple[float, ...]]
    evaluation: float
    weights: dict[str, Tensor]
    afterwards: float


def fresh(family: str, how: Recipe) -> nn.Module:
    """A model of its own for a recipe: with adapters, where those train."""
    dtype = TORCH_DTYPES[how.compute_dtype]
    return build(family, dtype=dtype) if how.trains_scales else adapted(family, dtype=dtype)


def trained(family: str, plan: Plan, how: Recipe, backend: Any = HostBackend) -> Trained:
    model = fresh(family, how)
    data = [batch(family, seed=seed, rows=2 * how.microbatches) for seed in range(3)]
    with TemporaryDirectory() as name:
        folder = Path(name) if plan.tier == "nvme" else None
        with engine(model, plan, how, data[0], backend, folder=folder) as running:
            losses, evaluation = losses_of(running, data), running.evaluate(data[0])
            assert running.divergence is None
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        with torch.no_grad():
            afterwards = float(model_loss(model, batch(family)))
    return Trained(losses, evaluation, weights, afterwards)


@cache
def resident(family: str, how: Recipe) -> Trained:
    """What every plan is compared with."""
    return trained(family, Plan(policy=Policy.RESIDENT), how)


def same(one: Trained, other: Trained) -> None:
    assert (one.losses, one.evaluation) == (other.losses, other.evaluation)
    different = [k for k, v in one.weights.items() if not torch.equal(v, other.weights[k])]
    assert different == []


SEEDS = st.integers(0, 10_000)


@given(family=st.sampled_from(FAMILIES), choice=encoded(), seed=SEEDS)
@settings(max_examples=examples(40, ordinary=6))
def test_any_legal_order_has_the_same_bits(family: str, choice: tuple[Plan, Recipe], seed: int):
    """Policies x slots x write-back x residency x tiers x lanes x formats."""
    plan, how = choice
    same(trained(family, plan, how, partial(VirtualBackend, seed)), resident(family, how))


@pytest.mark.parametrize(("name", "family"), crossed([*PLANS], ["llama", "opt"]))
def test_four_bits_stream_with_the_bits_of_resident(name: str, family: str):
    got = trained(family, PLANS[name], INT4)
    same(got, resident(family, INT4))
    assert got.afterwards == got.evaluation, "the model comes back with the weights it ran with"


@pytest.mark.parametrize("dtype", INTEGERS)
def test_lanes_read_what_a_dense_model_of_the_decoded_weights_does(dtype: Dtype):
    """The same adapters train beside the format and beside its weights written out."""
    how = replace(INT4, storage_dtype=dtype)
    dense = replace(INT4, storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32)
    got, data = resident("llama", how), [batch("llama", seed=seed) for seed in range(3)]
    model = adapted("llama")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                parameter.copy_(got.weights[name])
    with engine(model, Plan(), dense, data[0]) as running:
        assert losses_of(running, data) == got.losses


def test_norms_biases_embeddings_and_head_keep_every_bit():
    before = adapted("opt").state_dict()
    after = resident("opt", INT4).weights
    changed = {k for k in before if "lora_" not in k and not torch.equal(before[k], after[k])}
    linear = {k for k in before if k.endswith("base_layer.weight")}
    assert changed == linear
    assert len(linear) == 3 * 6


@pytest.mark.parametrize(
    ("whose", "dtype", "plan"),
    crossed(
        [*product(FAMILIES, ("lora:2", "scales"))],
        INTEGERS,
        (Plan(), Plan(resident_blocks=1, num_slots=1, scratch_copies=2)),
    ),
    ids=str,
)
def test_device_and_host_buffers_are_those_of_the_account(
    whose: tuple[str, str], dtype: Dtype, plan: Plan
):
    family, trainable = whose
    how = replace(INT4, storage_dtype=dtype, trainable=trainable)
    model = fresh(family, how)
    predicted = account(like(model, family), plan, how)
    device = predicted.itemised(MemoryPlace.DEVICE)
    with engine(model, plan, how, batch(family)) as running:
        parts, found = running._parts, running.device_bytes
        on_host = [buffer.numel() for buffer in parts.arena.host.values()]
        slots = sum(buffer.numel() for buffer in parts.arena.devices[0].slots)
        assert found == demand(Formats(parts.units, parts.layout)).device_bytes
    assert slots == device["slots"]
    streamed = predicted.itemised(MemoryPlace.HOST)["streamed blocks, exact"]
    assert sum(map(whole_pages, on_host)) == streamed
    if family != "mixtral" or how.trains_scales:  # PEFT adapts experts' matrices to other ranks
        assert found == sum(device.get(name, 0) for name in ARENA)


def like(model: nn.Module, family: str) -> Model:
    config: Any = model.config
    return from_config(config.to_dict(), name=family)


def test_a_run_goes_on_in_its_own_format_only(tmp_path: Path):
    data = [batch("llama", seed=seed) for seed in range(4)]
    want = adapted("llama")
    with engine(want, Plan(), INT4, data[0]) as whole:
        losses = losses_of(whole, data)
    with engine(adapted("llama"), Plan(), INT4, data[0], folder=tmp_path) as first:
        found = losses_of(first, data[:2])
    for dtype in (Dtype.INT8, Dtype.INT4_ASYM):
        other = replace(INT4, storage_dtype=dtype, wire_dtype=dtype)
        with (
            pytest.raises(ValueError, match="storage_dtype"),
            engine(adapted("llama"), Plan(), other, data[0], folder=tmp_path),
        ):
            pass
    model = adapted("llama")
    with engine(model, Plan(tier="nvme"), INT4, data[0], folder=tmp_path) as second:
        found += losses_of(second, data[2:])
        second.snapshot()
    assert found == losses
    got, expected = model.state_dict(), want.state_dict()
    assert [k for k, v in got.items() if not torch.equal(v, expected[k])] == []


def test_what_has_no_room_dense_comes_back_empty(monkeypatch: pytest.MonkeyPatch):
    """The adapters are there, and PEFT saves them."""
    model, data = adapted("llama"), batch("llama")
    with engine(model, Plan(), INT4, data) as running:
        running.step(data)
        monkeypatch.setattr(contents, "free_host_bytes", lambda: 1000)
        with running.whole():
            shown = {k: v.numel() for k, v in model.state_dict().items()}
    linear = {k for k in shown if k.endswith("base_layer.weight")}
    assert {k for k, elements in shown.items() if not elements} == linear
    assert {k: v.numel() for k, v in model.state_dict().items()} == shown


@pytest.mark.parametrize("plan", [Plan(), Plan(tier="nvme")], ids=["zo2", "nvme"])
def test_what_is_not_finite_is_refused_by_name(plan: Plan, tmp_path: Path):
    """Before a weight has moved, or a file is there."""
    model = adapted("llama")
    name = "base_model.model.model.layers.1.mlp.up_proj.base_layer.weight"
    with torch.no_grad():
        model.get_parameter(name)[0, 0] = torch.inf
    with (
        pytest.raises(ValueError, match=rf"{name}: weights must be finite to be encoded"),
        engine(model, plan, INT4, batch("llama"), folder=tmp_path),
    ):
        pass
    after = {k: v for k, v in model.state_dict().items() if k != name}
    before = adapted("llama").state_dict()
    assert all(torch.equal(v, before[k]) for k, v in after.items())
    assert [*tmp_path.iterdir()] == []


def test_weights_that_cannot_move_leave_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(BlockStore, "write", full)
    with (
        pytest.raises(OSError, match="no space left"),
        engine(adapted("llama"), Plan(tier="nvme"), INT4, batch("llama"), folder=tmp_path),
    ):
        pass
    assert [*tmp_path.rglob("blocks.bin")] == []


def test_a_model_must_have_the_compute_dtype():
    with (
        pytest.raises(ValueError, match=r"must be torch.bfloat16 for compute_dtype=bf16; got"),
        engine(adapted("llama"), Plan(), replace(INT4, compute_dtype=Dtype.BF16), batch("llama")),
    ):
        pass


def test_a_trainer_trains_beside_an_integer_format(tmp_path: Path):
    model, args = adapted("llama"), arguments(tmp_path, max_steps=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    how = replace(INT4, sequence=SEQUENCE)
    with trainer(model, args, how) as mine:
        mine.train()
        assert mine.outcome is not None
        assert mine.outcome.loss is not None
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert any("lora_" in k for k in changed)


def test_a_trainer_s_model_must_have_the_compute_dtype(tmp_path: Path):
    how = replace(INT4, compute_dtype=Dtype.BF16)
    with (
        pytest.raises(ValueError, match="in the recipe's compute_dtype, bf16; it is in fp32"),
        trainer(adapted("llama"), arguments(tmp_path), how),
    ):
        pass
