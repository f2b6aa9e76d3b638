"""How fast the runtime is: its step against MeZO's loop, a slow link, and its own parts.

Everything computes on one thread: the caller's, or the compute stream of a `host` backend.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from statistics import fmean, median

import torch
from torch import Tensor

from experiments.screen import progress_bar
from experiments.speed.noise import NoiseSpeed
from experiments.speed.textbook import TextbookMezo
from zo2rt.backends import HostBackend
from zo2rt.backends.process import intra_op_threads
from zo2rt.measure.handover import handover_s, launch_s
from zo2rt.measure.runs import Running, RunSpec, model_of, opened
from zo2rt.measure.spread import Spread
from zo2rt.measure.timing import Measure, timed_s
from zo2rt.measure.turns import in_turn
from zo2sim.dtypes import Dtype
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Policy, Recipe

HIDDEN, EXPOSED = 0.8, 1.5
"""Seconds that the copies of a step take per direction, over those of a resident step."""
RESIDENT = Plan(policy=Policy.RESIDENT, scratch_copies=2)
OFFLOADED = Plan(num_slots=6, scratch_copies=2)
"""With fewer slots the link, or over a fast link the compute, idles around head and tail."""
OPT_125M = RunSpec(
    name="opt-125m",
    config={
        "model_type": "opt",
        "hidden_size": 768,
        "ffn_dim": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "vocab_size": 50272,
        "max_position_embeddings": 2048,
        "word_embed_proj_dim": 768,
    },
    plan=RESIDENT,
    recipe=Recipe(
        sequence=64, storage_dtype=Dtype.FP32, wire_dtype=Dtype.FP32, compute_dtype=Dtype.FP32
    ),
)
"""Fine-tuning in fp32, one sequence per step, of OPT-125m's shape (arXiv:2205.01068)."""
_STEPS = 2  # timed in a row


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what is wanted of it."""

    name: str
    spread: Spread
    wanted: str = ""


def figures(spec: RunSpec, *, pairs: int) -> list[Figure]:
    """Figures of one run, each from ``pairs`` values that were measured in turn."""
    with intra_op_threads(1), ExitStack() as stack:
        runs = _opened(stack, spec)
        batch = runs["resident"].batch
        idle = stack.enter_context(HostBackend())
        noise = NoiseSpeed(idle, spec.model.blocks[0].elements)
        measures = {
            "mezo": mezo_loop(spec, batch),
            "fused mezo": mezo_loop(spec, batch, fused=True),
            **{name: partial(step_s, running) for name, running in runs.items()},
            "forward": _forward(spec, batch),
            **noise.measures,
            "launch": lambda: launch_s(idle),
            "handover": lambda: handover_s(idle),
        }
        found = spreads(measures, pairs)
        links_s = {name: _link_s(runs[name]) for name in ("hidden", "exposed")}
    return [*_wanted(found, links_s), *_explained(found, spec.model, links_s)]


def step_s(running: Running) -> float:
    """Seconds of a step in the steady state.

    An untimed step before prefetches what a step in the middle of a run finds.
    """
    return fmean(running.steps_s(_STEPS).values())


def spreads(measures: Mapping[str, Measure], pairs: int) -> dict[str, Spread]:
    """Measured in turn: a machine that slows down slows both sides of a ratio."""
    with progress_bar() as bar:
        done = partial(bar.advance, bar.add_task("measuring", total=pairs * len(measures)))
        found = in_turn([*measures.values()], pairs, done=done)
    return dict(zip(measures, map(Spread.of, found), strict=True))


def mezo_loop(
    spec: RunSpec,
    batch: Mapping[str, Tensor],
    device: torch.device | str = "cpu",
    *,
    fused: bool = False,
) -> Measure:
    """A step of the textbook's loop on the model of a run."""
    loop, seeds = TextbookMezo(model_of(spec).to(device), fused=fused), count()
    there = {name: tensor.to(device) for name, tensor in batch.items()}
    return lambda: timed_s(lambda: loop.step(there, next(seeds)))


def _opened(stack: ExitStack, spec: RunSpec) -> dict[str, Running]:
    """All in memory, over a link that compute hides, and over one that it does not; warm."""
    resident = stack.enter_context(opened(replace(spec, plan=RESIDENT)))
    compute_s = median(step_s(resident) for _ in range(4))
    slow = {
        name: stack.enter_context(opened(_slow(spec, share * compute_s)))
        for name, share in (("hidden", HIDDEN), ("exposed", EXPOSED))
    }
    return {"resident": resident, **slow}


def _slow(spec: RunSpec, link_s: float) -> RunSpec:
    """Offloaded, over a link on which a step's copies take so long per direction."""
    elements = sum(block.elements for block in spec.model.blocks)
    streamed_bytes = elements * spec.recipe.wire_dtype.bytes
    return replace(spec, plan=OFFLOADED, link_bytes_per_s=streamed_bytes / link_s)


def _link_s(running: Running) -> float:
    """What a step's copies take per direction over a limited link: its lower bound."""
    rate = running.spec.link_bytes_per_s
    assert rate is not None, "the link of a slow run is limited"
    return running.backend.memory().pinned_bytes / rate


def _forward(spec: RunSpec, batch: Mapping[str, Tensor]) -> Measure:
    model = model_of(spec)

    @torch.no_grad()
    def forward() -> None:
        model(**batch)

    return lambda: timed_s(forward, times=2)


def _wanted(found: Mapping[str, Spread], links_s: Mapping[str, float]) -> list[Figure]:
    resident, exposed = found["resident"], found["exposed"]
    return [
        Figure("speedup_over_mezo_loop", found["mezo"].over(resident), ">= 3"),
        Figure("offloaded_over_resident", found["hidden"].over(resident), "<= 1.05"),
        Figure("step_over_link_bound", exposed.times(1.0 / links_s["exposed"]), "<= 1.05"),
        Figure("noise_gaussian_ns", found["gaussian"].times(1e9), "<= 3"),
        Figure("noise_rademacher_ns", found["rademacher"].times(1e9), "<= 0.7"),
        Figure("launch_us", found["launch"].times(1e6), "<= 200"),
        Figure("handover_us", found["handover"].times(1e6), "<= 200"),
        Figure("speedup_over_fused_mezo_loop", found["fused mezo"].over(resident)),
    ]


def _explained(
    found: Mapping[str, Spread], model: Model, links_s: Mapping[str, float]
) -> list[Figure]:
    """Steps in seconds, and how far the resident one is from the sum of its parts."""
    updated = model.elements
    built = updated + model.shared_elements  # head and tail each build their own
    parts = Spread.of(
        2.0 * forward + built * pair + updated * update
        for forward, pair, update in zip(
            *(found[name].values for name in ("forward", "pair", "update")), strict=True
        )
    )
    copies = {
        f"copies_over_compute_{name}": Spread.of(
            links_s[name] / s for s in found["resident"].values
        )
        for name in ("hidden", "exposed")
    }
    steps = {f"{name}_step_s": found[name] for name in ("mezo", "resident", "hidden", "exposed")}
    return [
        Figure("resident_over_parts", found["resident"].over(parts)),
        *(Figure(name, spread) for name, spread in {**copies, **steps}.items()),
        Figure("forward_s", found["forward"]),
        Figure("pair_gaussian_ns", found["pair"].times(1e9)),
        Figure("update_gaussian_ns", found["update"].times(1e9)),
    ]
