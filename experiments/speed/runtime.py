"""How fast the runtime is: its step against MeZO's loop, a slow link, and its own parts.

Everything computes on one thread: the caller's, or the compute stream of a `host` backend.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from statistics import median

import torch

from experiments.screen import progress_bar
from experiments.speed.noise import NoiseSpeed
from experiments.speed.runner import Runner, open_runner
from experiments.speed.textbook import TextbookMezo
from experiments.speed.workload import Workload
from zo2rt.backends import HostBackend
from zo2rt.backends.process import intra_op_threads
from zo2rt.measure.handover import handover_s, launch_s
from zo2rt.measure.spread import Spread
from zo2rt.measure.timing import Measure, timed_s
from zo2rt.measure.turns import in_turn
from zo2sim.plan.choices import Plan, Policy

OPT_125M = Workload()

HIDDEN, EXPOSED = 0.8, 1.5
"""Seconds that the copies of a step take per direction, over those of a resident step."""
RESIDENT = Plan(policy=Policy.RESIDENT, scratch_copies=2)
OFFLOADED = Plan(num_slots=6, scratch_copies=2)
"""With fewer slots the link, or over a fast link the compute, idles around head and tail."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what is wanted of it."""

    name: str
    spread: Spread
    wanted: str = ""


def figures(workload: Workload, *, pairs: int) -> list[Figure]:
    """Figures of one run, each from ``pairs`` values that were measured in turn."""
    with intra_op_threads(1), ExitStack() as stack:
        runners = _runners(stack, workload)
        idle = stack.enter_context(HostBackend())
        noise = NoiseSpeed(idle, workload.block_elements)
        measures = {
            "mezo": _mezo_loop(workload, fused=False),
            "fused mezo": _mezo_loop(workload, fused=True),
            **{name: runner.step_s for name, runner in runners.items()},
            "forward": _forward(workload),
            **noise.measures,
            "launch": lambda: launch_s(idle),
            "handover": lambda: handover_s(idle),
        }
        found = spreads(measures, pairs)
        links_s = {name: runner.link_s for name, runner in runners.items()}
    return [*_wanted(found, links_s), *_explained(found, workload, links_s)]


def spreads(measures: Mapping[str, Measure], pairs: int) -> dict[str, Spread]:
    """Measured in turn: a machine that slows down slows both sides of a ratio."""
    with progress_bar() as bar:
        done = partial(bar.advance, bar.add_task("measuring", total=pairs * len(measures)))
        found = in_turn([*measures.values()], pairs, done=done)
    return dict(zip(measures, map(Spread.of, found), strict=True))


def _runners(stack: ExitStack, workload: Workload) -> dict[str, Runner]:
    """All in memory, over a link that compute hides, and over one that it does not; warm."""
    resident = open_runner(stack, workload, RESIDENT)
    compute_s = median(resident.step_s() for _ in range(4))
    slow = {
        name: open_runner(stack, workload, OFFLOADED, link_s=share * compute_s)
        for name, share in (("hidden", HIDDEN), ("exposed", EXPOSED))
    }
    return {"resident": resident, **slow}


def _mezo_loop(workload: Workload, *, fused: bool) -> Measure:
    loop, batch, seeds = TextbookMezo(workload.model(), fused=fused), workload.batch(), count()
    return lambda: timed_s(lambda: loop.step(batch, next(seeds)))


def _forward(workload: Workload) -> Measure:
    model, batch = workload.model(), workload.batch()

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
    found: Mapping[str, Spread], workload: Workload, links_s: Mapping[str, float]
) -> list[Figure]:
    """Steps in seconds, and how far the resident one is from the sum of its parts."""
    built, updated = workload.noise_elements
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
