"""What a search knows of every plan's step time, from a bound down to the simulated figure.

Each plan starts with the bound of its traffic. Looking closer first walks its program (the fast
path: a better bound, for all plans with that program at once), then simulates it, and then its
step time is known. So the least entry is at any time a proven bound of the whole space.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from zo2sim.predict.vectorised import shared_program, step_s
from zo2sim.schedule.ops import Kind
from zo2sim.search.candidates import Candidates, Flags
from zo2sim.simulate.events import simulate
from zo2sim.simulate.steady import Floats, Numbers

Watch = Callable[[int, int], None]
"""Told how many plans were walked and simulated so far."""


class Ledger:
    """Seconds per step of every candidate: ``step_s`` where ``known``, otherwise a lower bound.

    A bound that was ``walked`` has the chain of dependencies in it; ``num_programs`` were,
    plans of one program together.

    ``work`` is what a step of each gets done. ``watch`` is told the numbers of plans that were
    walked and simulated, whenever there are more.
    """

    def __init__(self, candidates: Candidates, work: Floats, *, watch: Watch | None = None) -> None:
        self.candidates = candidates
        self._watch = watch
        self.work = work
        self.step_s = candidates.bound_s.copy()
        self.known: Flags = np.zeros(len(candidates), dtype=bool)
        self.num_walked = 0
        self.num_simulated = 0
        self.num_programs = 0
        self.last_walked: list[int] = []
        self._roomy: set[int] = set()
        self.walked: Flags = np.zeros(len(candidates), dtype=bool)

    def cost(self, numbers: Numbers) -> Floats:
        """Seconds per unit of work of some plans: known, or no more than they will turn out."""
        return self.step_s[numbers] / self.work[numbers]

    def cost_of(self, number: int) -> float:
        """The same of one plan."""
        return float(self.step_s[number] / self.work[number])

    def most_per_s(self, among: Numbers) -> float:
        """No plan of these gets more work done per second; 0 where there is none."""
        return float(1.0 / self.cost(among).min()) if len(among) else 0.0

    def reaches(self, number: int, limit_s: float) -> bool:
        """Whether one plan costs no more than that: looks closer until it is decided."""
        while self.cost_of(number) <= limit_s:
            if self.known[number]:
                return True
            self.look_closer(number)
        return False

    def look_closer(self, number: int, *, alone: bool = False) -> None:
        """Learn more of one plan: walk its program, or simulate it where it was walked before.

        ``alone``: no other plan is walked first.
        """
        assert not self.known[number], "nothing more can be learnt of a simulated plan"
        if self.walked[number]:
            self._simulate(number)
        else:
            self._walk(number, alone=alone)
        if self._watch is not None:
            self._watch(self.num_walked, self.num_simulated)

    def _walk(self, number: int, *, alone: bool) -> None:
        """Of several devices, whose programs are long, first what bounds many plans at once."""
        core, several = int(self.candidates.core[number]), self._has_roomier(number)
        if several and core not in self._roomy:
            self._roomy.add(core)
            self._raise(self.candidates.core == core, self._with_all_room_s(number))
        elif several and not alone:
            roomiest = self._roomiest(number)
            self._walk_kin(roomiest)
            same = self._placed_alike(number) & ~self.known
            self._raise(same, float(self.step_s[roomiest]))
        else:
            self._walk_kin(number)

    def _has_roomier(self, number: int) -> bool:
        """Whether a plan with more room waits for less, and costs the same elsewhere."""
        core = self.candidates.cores[int(self.candidates.core[number])]
        if core.plan.devices == 1 or core.machine.cpu is not None:
            return False
        first = int(self.candidates.core[number]) not in self._roomy
        return first or not self.walked[self._roomiest(number)]

    def _placed_alike(self, number: int) -> Flags:
        """Plans that differ in their number of slots alone."""
        found = self.candidates
        return (found.core == found.core[number]) & (found.residents == found.residents[number])

    def _roomiest(self, number: int) -> int:
        """The one of those with most slots: what waits for one waits for less with more."""
        alike = np.flatnonzero(self._placed_alike(number))
        return int(alike[self.candidates.slots[alike].argmax()])

    def _with_all_room_s(self, number: int) -> float:
        """No plan of a core is faster: every block is resident, and costs no update at all where
        one that is streamed costs the device less: on the host, or of its own slice."""
        case = self.candidates.case(number)
        room = {"resident_blocks": case.model.num_blocks, "write_back_every": 1}
        plan = replace(case.plan, **room)
        less = case.plan.policy.traits.updates_on_host or case.plan.placement == "sliced"
        free = (Kind.UPDATE,) if less else ()
        return float(step_s([replace(case, plan=plan)], free=free)[0])

    def _raise(self, those: Flags, bound_s: float) -> None:
        self.step_s[those] = np.maximum(self.step_s[those], bound_s)

    def _walk_kin(self, number: int) -> None:
        self.num_programs += 1
        kin = np.flatnonzero(self.candidates.kin == self.candidates.kin[number])
        walked = step_s([self.candidates.case(int(one)) for one in kin])
        self.step_s[kin] = np.maximum(self.step_s[kin], walked)
        self.walked[kin] = True
        self.last_walked = kin.tolist()
        self.num_walked += len(kin)

    def _simulate(self, number: int) -> None:
        case = self.candidates.case(number)
        cost = case.cost
        trace = simulate(shared_program(case), cost, cost.rates)
        self.step_s[number] = trace.step_s
        self.known[number] = True
        self.num_simulated += 1
