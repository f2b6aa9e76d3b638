"""One call for a plan: what a command runs when nobody has chosen one."""

from dataclasses import dataclass

from zo2sim.candidates import Allowed
from zo2sim.case import Case
from zo2sim.machine import Machine
from zo2sim.model import Model
from zo2sim.plan import Plan, Recipe
from zo2sim.search import Effort, search
from zo2sim.space import Space, plan_axes
from zo2sim.what_if import with_device_memory, with_host_memory

_QUICK = Effort(tolerance=0.01, simulations=4, grain=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes that may be used; None: all that the machine has."""

    device_bytes: float | None = None
    host_bytes: float | None = None

    def of(self, machine: Machine) -> Machine:
        """The machine with no more than these."""
        if self.device_bytes is not None:
            machine = with_device_memory(machine, self.device_bytes)
        if self.host_bytes is not None:
            machine = with_host_memory(machine, self.host_bytes)
        return machine


def choose(
    model: Model,
    machine: Machine,
    limits: Limits,
    recipe: Recipe,
    *,
    allowed: Allowed | None = None,
) -> Plan:
    """The plan with the most tokens per second that fits, up to 1 %; the recipe stays as it is.

    ``allowed`` may rule out plans, such as those that a runtime does not execute. The same
    arguments give the same plan. Raises `zo2sim.search.NothingFits`, a ``ValueError`` that says
    what the smallest plans need, where none fits.
    """
    base = Case(model=model, machine=limits.of(machine), plan=Plan(), recipe=recipe)
    space = Space(base=base, axes=plan_axes(base))
    return search(space, effort=_QUICK, allowed=allowed).best.case.plan
