"""Training without a model: an update that depends on everything before it, journalled for real."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zo2rt.journal import Draw, Environment, Group, Header, ParameterEntry, Rate, Record, recovery
from zo2rt.journal import snapshot as snapshots
from zo2rt.journal.durable import FileSystem
from zo2rt.model.identity import Forward

Weights = dict[str, Tensor]

SHAPES = {"a": (3, 4), "b": (5,)}

HEADER = Header(
    recipe='[recipe]\nnoise = "gaussian"\n',
    plan='[plan]\npolicy = "zo2"\n',
    seed=0,
    noise="gaussian",
    noise_version=1,
    stochastic_rounding=False,
    lr_schedule="constant",
    decay_rule="no decay for vectors, version 1",
    groups=(
        Group(name="matrices", lr=0.1, weight_decay=0.01),
        Group(name="vectors", lr=0.1, weight_decay=0.0),
    ),
    parameters=(
        ParameterEntry(p=0, name="a", shape=(3, 4), dtype="fp32", group="matrices"),
        ParameterEntry(p=1, name="b", shape=(5,), dtype="fp32", group="vectors"),
    ),
    forward=Forward(frozen_parameters="1", buffers="2", config="3"),
    environment=Environment(torch="2", numpy="2", threads=1, device="toy"),
)


def first_weights() -> Weights:
    return {name: noise(99, name).clone() for name in SHAPES}


def noise(key: int, name: str) -> Tensor:
    p = list(SHAPES).index(name)
    generator = np.random.Generator(np.random.Philox(key=np.array([key, p], dtype=np.uint64)))
    return torch.from_numpy(generator.standard_normal(SHAPES[name], dtype=np.float32))


def measured(weights: Weights, step: int) -> Record:
    """What the forwards of a step would give; every seventh step diverges."""
    loss = float(sum(w.double().square().sum() for w in weights.values())) / (step + 1)
    losses = (loss, float("nan")) if step % 7 == 6 else (loss, loss - 0.01)
    return Record(
        step=step,
        losses=losses,
        draws=(Draw(key=2**63 + step, g=(losses[0] - losses[1]) / 2e-3),),
        rates=tuple(
            Rate(group=g.name, lr=g.lr, weight_decay=g.weight_decay) for g in HEADER.groups
        ),
        eps=1e-3,
        skipped=step % 7 == 6,
        cursor=2 * (step + 1),
    )


def updated(weights: Weights, record: Record) -> Weights:
    if record.skipped:
        return weights
    (draw,) = record.draws
    rates = dict(zip(SHAPES, record.rates, strict=True))
    return {
        name: w * (1 - rates[name].lr * rates[name].weight_decay)
        - noise(draw.key, name) * (rates[name].lr * draw.g)
        for name, w in weights.items()
    }


def resumed(fs: FileSystem, folder: Path) -> tuple[recovery.Resumed, Weights]:
    """The run in a folder and its weights: no forward is needed."""
    state = recovery.start(fs, folder, HEADER, first_weights())
    weights = dict(snapshots.read(fs, state.snapshot))
    for record in state.records:
        weights = updated(weights, record)
    return state, weights


def run(
    fs: FileSystem,
    folder: Path,
    steps: int,
    *,
    save_every: int,
    done: Callable[[int], None] = lambda _: None,
) -> Weights:
    """Go on, or begin, up to ``steps``; ``done`` hears how many steps are durable."""
    state, weights = resumed(fs, folder)
    journal = state.journal
    done(journal.position.step)
    while journal.position.step < steps:
        record = measured(weights, journal.position.step)
        journal.append(record)
        done(journal.position.step)
        weights = updated(weights, record)
        if journal.position.step % save_every == 0:
            recovery.save(fs, folder, journal, weights.items())
    return weights


def bits(weights: Weights) -> dict[str, bytes]:
    return {name: weights[name].contiguous().numpy().tobytes() for name in sorted(weights)}
