"""`bench --runtime`: what is measured, on a workload that takes no time, and what it is made of."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import bench
from experiments.speed import card as card_speed
from experiments.speed import runtime as runtime_speed
from experiments.speed.runtime import OPT_125M, Figure, figures
from experiments.speed.textbook import TextbookMezo
from tests.commands import call
from zo2rt.backends import HostBackend
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.measure.runs import batch_of, model_of
from zo2rt.measure.spread import Spread
from zo2rt.model.loss import model_loss
from zo2rt.model.units import find_units
from zo2sim.plan.choices import Plan, Policy

TINY = replace(
    OPT_125M,
    config={
        **OPT_125M.config,
        "num_hidden_layers": 6,
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_attention_heads": 4,
        "vocab_size": 64,
    },
    recipe=replace(OPT_125M.recipe, sequence=8),
)
PROMISED = (
    "speedup_over_mezo_loop",
    "offloaded_over_resident",
    "step_over_link_bound",
    "noise_gaussian_ns",
    "noise_rademacher_ns",
    "launch_us",
)


# ---- Figures ----


def test_every_figure_is_measured_once_per_pair():
    threads = torch.get_num_threads()
    found = {figure.name: figure.spread for figure in figures(TINY, pairs=2)}
    assert set(PROMISED) <= set(found)
    assert all(len(spread.values) == 2 and spread.low > 0 for spread in found.values())
    assert found["step_over_link_bound"].low > 0.5  # a busy machine may prefetch a step ahead
    assert torch.get_num_threads() == threads


def test_the_command_gives_plain_numbers_with_their_range(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "bench.json"
    made = [Figure(name, Spread((3.0, 1.0, 2.0)), "<= 4") for name in PROMISED]
    monkeypatch.setattr(runtime_speed, "figures", lambda spec, *, pairs: made)
    lines = call(bench, "--runtime", "--json", str(file)).out.splitlines()
    found = json.loads(file.read_text())
    assert [found[f"launch_us{end}"] for end in ("_low", "", "_high")] == [1.0, 2.0, 3.0]
    assert lines[1].split() == ["speedup_over_mezo_loop", "2", "1", "3", "<=", "4"]
    assert len(lines) == 1 + len(PROMISED)
    assert max(map(len, lines)) <= 80


def test_a_card_is_measured_with_the_same_steps():
    found = {f.name: f.spread for f in card_speed.figures(TINY, pairs=2, backend=HostBackend)}
    assert {"speedup_over_mezo_loop", "offloaded_over_resident", "launch_us"} <= set(found)
    assert all(len(spread.values) == 2 and spread.low > 0 for spread in found.values())


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a card")
def test_without_a_card_its_speed_is_not_made_up():
    outcome = call(bench, "--runtime", "--backend", "cuda")
    assert outcome.code == 1
    assert "there is no accelerator" in outcome.complaint


def test_no_pairs_are_refused():
    outcome = call(bench, "--runtime", "--pairs", "0")
    assert outcome.code == 2
    assert "--pairs >= 1" in outcome.complaint


# ---- What they are made of ----


def test_a_shape_counts_the_weights_that_a_step_reads_and_updates():
    shape, units = TINY.model, find_units(model_of(TINY), model_loss, batch_of(TINY))
    assert shape.blocks[0].elements == sum(p.elements for p in units[0].parameters)
    assert shape.elements == sum(p.elements for p in units.parameters)
    read_again = sum(p.elements for unit in units.order for p in unit.borrowed)
    assert shape.shared_elements == read_again > 0


def test_the_default_is_opt_125m():
    assert OPT_125M.model.elements == 125_239_296


def test_the_loop_is_mezo_to_the_bit():
    """As the engine executes it: in place, with torch's generator, and a seed per step."""
    batch = batch_of(TINY)
    how = replace(TINY.recipe, noise="torch", perturbation="in_place")
    loop = TextbookMezo(model_of(TINY), lr=1e-3, eps=1e-2)
    optimizer = MezoSgd(lr=1e-3, eps=1e-2)
    with (
        HostBackend() as backend,
        Engine(
            model_of(TINY),
            Plan(policy=Policy.RESIDENT),
            how,
            Objective(example=batch),
            backend=backend,
            optimizer=optimizer,
        ) as engine,
    ):
        for seed in (3, 0, 7):
            assert engine.step(batch, seed=seed).g == loop.step(batch, seed)


def test_the_fused_loop_differs_by_roundings_only():
    batch = batch_of(TINY)
    one, other = (TextbookMezo(model_of(TINY), fused=fused) for fused in (False, True))
    assert one.step(batch, 5) == pytest.approx(other.step(batch, 5), rel=1e-2)
