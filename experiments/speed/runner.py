"""An engine to be timed: on a `host` backend of its own, taking the same batch at every step."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor

from experiments.speed.workload import Workload
from zo2rt.backends import Backend, HostBackend, LinkLimit
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.measure.timing import timed_s
from zo2sim.plan.choices import Plan

_STEPS = 2  # timed in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """``link_s`` is what a step's copies take per direction: its lower bound."""

    engine: Engine
    backend: Backend
    batch: Mapping[str, Tensor]
    link_s: float

    def step_s(self) -> float:
        """Seconds of a step in the steady state.

        An untimed step before prefetches what a step in the middle of a run finds, and in the end
        nothing is in flight that would disturb what is measured next.
        """
        self.engine.step(self.batch)
        seconds = timed_s(lambda: self.engine.step(self.batch), times=_STEPS)
        self.backend.synchronize()
        return seconds


def open_runner(
    stack: ExitStack, workload: Workload, plan: Plan, *, link_s: float | None = None
) -> Runner:
    """An engine that ``stack`` closes. Its link is as slow as ``link_s`` per step says."""
    rate = float("inf") if link_s is None else workload.streamed_bytes / link_s
    limit = LinkLimit(
        h2d_bytes_per_s=rate,
        d2h_bytes_per_s=rate,
        both_h2d_bytes_per_s=rate,
        both_d2h_bytes_per_s=rate,
    )
    backend = HostBackend(None if link_s is None else limit, own_core=True)
    return runner_on(stack, workload, plan, backend, bytes_per_s=rate)


def runner_on(
    stack: ExitStack,
    workload: Workload,
    plan: Plan,
    backend: Backend,
    *,
    bytes_per_s: float = float("inf"),
) -> Runner:
    """An engine on a backend, both of which ``stack`` closes."""
    stack.enter_context(backend)
    batch = workload.batch()
    engine = Engine(
        workload.model(),
        plan,
        workload.recipe,
        Objective(example=batch),
        backend=backend,
        optimizer=MezoSgd(lr=1e-6),
    )
    stack.enter_context(engine)
    link_s = backend.memory().pinned_bytes / bytes_per_s
    return Runner(engine=engine, backend=backend, batch=batch, link_s=link_s)
