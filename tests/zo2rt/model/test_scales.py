"""Scales of an integer format as what trains: what they are, and that nothing else changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import crossed
from tests.zo2rt.engine.engine_runs import OPTIMIZER, engine, losses_of
from tests.zo2rt.engine.test_encoded_blocks import (
    FAMILIES,
    INTEGERS,
    PLANS,
    fresh,
    resident,
    trained,
)
from zo2rt import noise
from zo2rt.engine.engine import Engine
from zo2rt.journal.durable import Disk
from zo2rt.journal.groups import by_decay
from zo2rt.journal.replay import weights_at
from zo2rt.model.codec import encode, encoded
from zo2rt.model.integers import Encoded
from zo2rt.model.layout import WireLayout
from zo2rt.model.loss import model_loss
from zo2rt.model.scales import SCALES
from zo2rt.model.units import UnitParameter
from zo2rt.noise import Extent
from zo2sim.dtypes import Dtype, TensorFormat
from zo2sim.plan.choices import Plan, Recipe

pytestmark = [  # PEFT 0.21 with transformers 5.24
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
]

HOW = Recipe(trainable="scales", storage_dtype=Dtype.INT4, compute_dtype=Dtype.FP32, sequence=8)


def stored(weights: Tensor, dtype: Dtype) -> Encoded:
    layout = WireLayout.mixed([(TensorFormat(dtype), tuple(weights.shape))])
    buffer = torch.empty(layout.num_bytes, dtype=torch.uint8)
    encode([weights], buffer, layout)
    return encoded(buffer, layout.pieces[0])


def dense(one: Encoded, scales: Tensor) -> Tensor:
    out = torch.empty(one.shape)
    replace(one, scales=scales).decode(out)
    return out


@pytest.mark.parametrize(("family", "dtype"), crossed([*FAMILIES], INTEGERS))
def test_a_step_moves_every_group_s_step_along_its_noise(family: str, dtype: Dtype):
    """Losses are those of dense models with scales s + eps z and s - eps z, to the bit."""
    how, data, model = replace(HOW, storage_dtype=dtype), batch(family), build(family)
    with engine(model, Plan(), how, data) as running:
        running.step(data)
        record = running.record
        indices = {p.name: p.index for p in running.units.parameters}
        scales = [p for p in running.units.parameters if p.trainable]
    assert all(p.name.endswith(SCALES) for p in scales)
    bases = {p.name.removesuffix(SCALES): p for p in scales}
    reference: nn.Module = build(family)
    codes = {n: stored(reference.get_parameter(n).data, dtype) for n in bases}
    (draw,), updates = record.draws, by_decay([record])
    losses = [
        _loss(reference, codes, indices, data, key=draw.key, coefficient=sign * OPTIMIZER.eps)
        for sign in (1.0, -1.0)
    ]
    assert [*record.losses] == losses
    after = model.state_dict()
    for name, one in codes.items():
        moved, applied = one.scales.clone(), updates[bases[name].decays]
        noise.update(moved.view(-1), Extent(p=indices[name]), updates=applied, kind="gaussian")
        assert torch.equal(after[name], dense(one, moved)), name


def _loss(
    model: nn.Module,
    codes: dict[str, Encoded],
    indices: dict[str, int],
    data: dict[str, Tensor],
    *,
    key: int,
    coefficient: float,
) -> float:
    with torch.no_grad():
        for name, one in codes.items():
            scales, place = torch.empty_like(one.scales), Extent(p=indices[name])
            noise.perturb(
                scales.view(-1),
                one.scales.clone().view(-1),
                place,
                key=key,
                coefficient=coefficient,
                kind="gaussian",
            )
            model.get_parameter(name).copy_(dense(one, scales))
        return float(model_loss(model, data))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_scales_train_alike_with_every_plan(plan: Plan):
    got, want = trained("llama", plan, HOW), resident("llama", HOW)
    assert (got.losses, got.evaluation) == (want.losses, want.evaluation)
    assert [k for k, v in got.weights.items() if not torch.equal(v, want.weights[k])] == []
    assert got.afterwards == got.evaluation, "the model comes back with the weights it ran with"


def test_all_but_linear_layers_of_blocks_keeps_every_bit():
    before, after = build("opt").state_dict(), trained("opt", Plan(), HOW).weights
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {k for k in before if ".layers." in k and before[k].dim() == 2}


def test_a_run_goes_on_with_its_scales_and_they_are_rebuilt_from_its_journal(tmp_path: Path):
    data = [batch("llama", seed=seed) for seed in range(4)]
    want = build("llama")
    with engine(want, Plan(), HOW, data[0]) as whole:
        losses = losses_of(whole, data)
    with engine(build("llama"), Plan(), HOW, data[0], folder=tmp_path) as first:
        found = losses_of(first, data[:2])
    model = build("llama")
    with engine(model, Plan(tier="nvme"), HOW, data[0], folder=tmp_path) as second:
        found += losses_of(second, data[2:])
        second.snapshot()
        scales = {p.name: p.tensor.clone() for p in _trained(second)}
    assert found == losses
    expected = want.state_dict()
    assert [k for k, v in model.state_dict().items() if not torch.equal(v, expected[k])] == []
    replayed = weights_at(Disk(), tmp_path, 4)
    assert replayed.keys() == scales.keys()
    assert all(torch.equal(v, scales[k]) for k, v in replayed.items())
    other = replace(HOW, trainable="lora:2")
    with (
        pytest.raises(ValueError, match="trainable"),
        engine(fresh("llama", other), Plan(), other, data[0], folder=tmp_path),
    ):
        pass


def _trained(running: Engine) -> list[UnitParameter]:
    return [p for p in running.units.parameters if p.trainable]


def test_what_scales_cannot_do_is_refused_with_the_reason():
    data, sparse = batch("llama"), replace(OPTIMIZER, sparsity=0.5)
    dense = replace(HOW, storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32)
    with (
        pytest.raises(ValueError, match=r"trains those of an integer format; set storage_dtype"),
        engine(build("llama"), Plan(), dense, data),
    ):
        pass
    with (
        pytest.raises(ValueError, match="a scale is that of a whole group; use sparsity=0"),
        engine(build("llama"), Plan(), HOW, data, optimizer=sparse),
    ):
        pass
    model = build("llama")
    with torch.no_grad():
        model.get_parameter("model.layers.1.mlp.up_proj.weight")[0, 0] = torch.inf
    with (
        pytest.raises(ValueError, match=r"layers.1.mlp.up_proj.weight: weights must be finite"),
        engine(model, Plan(), HOW, data),
    ):
        pass
