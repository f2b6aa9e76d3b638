"""How fast the runtime is on a card: streamed steps against resident ones and MeZO's loop."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from experiments.speed.runtime import OFFLOADED, RESIDENT, Figure, mezo_loop, spreads, step_s
from zo2rt.backends import Backend, CudaBackend
from zo2rt.measure.handover import launch_s
from zo2rt.measure.runs import RunSpec, opened


def figures(
    spec: RunSpec, *, pairs: int, backend: Callable[[], Backend] = CudaBackend
) -> list[Figure]:
    """Figures of one run, each from ``pairs`` values that were measured in turn.

    Every engine has a backend of its own. Raises ``RuntimeError`` where there is no card.
    """
    with ExitStack() as stack:
        idle = stack.enter_context(backend())  # where there is no card, no model is made
        resident, offloaded = (
            stack.enter_context(opened(replace(spec, plan=plan), backend))
            for plan in (RESIDENT, OFFLOADED)
        )
        measures = {
            "mezo": mezo_loop(spec, resident.batch, resident.backend.device),
            "resident": partial(step_s, resident),
            "offloaded": partial(step_s, offloaded),
            "launch": lambda: launch_s(idle),
        }
        for measure in measures.values():
            measure()  # kernels are compiled, and the allocator has what it needs
        found = spreads(measures, pairs)
    return [
        Figure("speedup_over_mezo_loop", found["mezo"].over(found["resident"])),
        Figure("offloaded_over_resident", found["offloaded"].over(found["resident"])),
        Figure("launch_us", found["launch"].times(1e6), "<= 200"),
        *(Figure(f"{name}_step_s", found[name]) for name in ("mezo", "resident", "offloaded")),
    ]
