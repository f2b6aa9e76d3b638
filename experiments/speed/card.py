"""How fast the runtime is on a card: streamed steps against resident ones and MeZO's loop."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

from experiments.speed.runner import runner_on
from experiments.speed.runtime import OFFLOADED, RESIDENT, Figure, spreads
from experiments.speed.textbook import TextbookMezo
from experiments.speed.workload import Workload
from zo2rt.backends import Backend, CudaBackend
from zo2rt.measure.handover import launch_s
from zo2rt.measure.timing import Measure, timed_s


def figures(
    workload: Workload, *, pairs: int, backend: Callable[[], Backend] = CudaBackend
) -> list[Figure]:
    """Figures of one run, each from ``pairs`` values that were measured in turn.

    Every engine has a backend of its own. Raises ``RuntimeError`` where there is no card.
    """
    with ExitStack() as stack:
        resident, offloaded = (
            runner_on(stack, workload, plan, backend()) for plan in (RESIDENT, OFFLOADED)
        )
        idle = stack.enter_context(backend())
        measures = {
            "mezo": _mezo_loop(workload, resident.backend),
            "resident": resident.step_s,
            "offloaded": offloaded.step_s,
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


def _mezo_loop(workload: Workload, backend: Backend) -> Measure:
    device, seeds = backend.device, count()
    loop = TextbookMezo(workload.model().to(device))
    batch = {name: tensor.to(device) for name, tensor in workload.batch().items()}
    return lambda: timed_s(lambda: loop.step(batch, next(seeds)))
