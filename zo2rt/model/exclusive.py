"""Units of one model that several threads bind at once, each on a device of its own.

[Note: one model] Weights come under the model's parameters, and there is one model. Two devices
that run two units do not meet; two that run one unit, or units that read a common parameter, take
turns. That orders them in time and in nothing else, since neither reads what the other bound.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from zo2rt.model.units import Unit, Units
from zo2sim.schedule.ops import HEAD, TAIL


class Exclusive:
    """Who may bind a unit: see [Note: one model]."""

    def __init__(self, units: Units) -> None:
        shared = sorted({p.index for unit in units.order for p in unit.borrowed})
        locks = {index: Lock() for index in shared}
        own = {unit.number: Lock() for unit in units.order}
        own[TAIL] = own[HEAD]  # they share the buffers that no block has
        reads = {unit.number: {p.index for p in unit.reads} for unit in units.order}
        self._locks = {
            number: (own[number], *(lock for index, lock in locks.items() if index in indices))
            for number, indices in reads.items()
        }

    @contextmanager
    def of(self, unit: Unit) -> Iterator[None]:
        """Inside, no other thread has bound the unit, or a parameter that it reads."""
        with ExitStack() as held:
            for lock in self._locks[unit.number]:  # in one order, so nobody waits in a circle
                held.enter_context(lock)
            yield
