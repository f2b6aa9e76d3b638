"""What each kind of operation does to real tensors. Order is the executor's; this is the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from zo2rt.arena import Arena, reads
from zo2rt.backends import Backend, Work
from zo2rt.binding import bound
from zo2rt.lanes import Traversal
from zo2rt.noise import Kind as NoiseKind
from zo2rt.noise import Place, perturb, update
from zo2rt.outcome import Outcome, StepSettings, outcome
from zo2rt.units import Unit, UnitParameter, Units
from zo2sim.plan import Recipe
from zo2sim.schedule import Kind, Op, Stream

SIGNS = {"+": 1.0, "-": -1.0}


@dataclass(slots=True, kw_only=True)
class Step:
    """One step in the making: its settings, its lanes, and what they gave."""

    settings: StepSettings
    traversal: Traversal
    outcome: Outcome | None = None


@dataclass(kw_only=True)
class Operations:
    """The work of every operation. ``steps`` holds those that are still needed."""

    backend: Backend
    units: Units
    arena: Arena
    recipe: Recipe
    kind: NoiseKind
    steps: dict[int, Step] = field(default_factory=dict)
    kept: dict[int, Outcome] = field(default_factory=dict)

    def work(self, op: Op, step: int) -> Work:
        """What ``op`` does in ``step``, to be run in its place in the order."""
        match op.kind:
            case Kind.H2D:
                return partial(self._upload, self._unit(op))
            case Kind.D2H:
                return partial(self._offload, self._unit(op))
            case Kind.UPDATE:
                return partial(self._update, self._unit(op), op, step)
            case Kind.HOST_UPDATE:
                return partial(self._host_update, self._unit(op), op, step)
            case Kind.FORWARD:
                return partial(self._forward, self._unit(op), op.lanes, step)
            case Kind.LOSS:
                return partial(self._loss, step)
            case Kind.JOURNAL | Kind.ALLOC:
                return _nothing
            case _:
                raise ValueError(f"{op.name}: the runtime does not execute {op.kind} yet")

    def _unit(self, op: Op) -> Unit:
        assert op.unit is not None, f"{op.name} is about a unit"
        return self.units[op.unit]

    def _upload(self, unit: Unit) -> None:
        source, target = self.arena.host[unit.number], self.arena.device(unit)
        self.backend.transfer(Stream.H2D, target, source)

    def _offload(self, unit: Unit) -> None:
        source, target = self.arena.device(unit), self.arena.host[unit.number]
        self.backend.transfer(Stream.D2H, target, source)

    def _update(self, unit: Unit, op: Op, step: int) -> None:
        self._apply(unit, self.arena.theta(unit), self._records(op, step))

    def _host_update(self, unit: Unit, op: Op, step: int) -> None:
        self._apply(unit, self.arena.home(unit), self._records(op, step))

    def _records(self, op: Op, step: int) -> Sequence[Outcome]:
        """The last outcomes before this step; in a later trip, up to this very one."""
        end = step + 1 if op.trip else step
        return [self.kept[number] for number in range(end - op.records, end)]

    def _apply(self, unit: Unit, theta: Sequence[Tensor], outcomes: Sequence[Outcome]) -> None:
        for parameter, tensor in zip(unit.parameters, theta, strict=True):
            if parameter.trainable and outcomes:
                records = [outcome.record(decays=parameter.decays) for outcome in outcomes]
                update(tensor.view(-1), _place(parameter), records=records, kind=self.kind)

    def _forward(self, unit: Unit, lanes: str, step: int) -> None:
        """Build the weights of every sign and sample, and run their lanes through the unit."""
        now = self.steps[step]
        if lanes == "0":
            self._advance(now, unit, self._unperturbed(unit), now.traversal.unfinished)
            return
        for sample in range(self.recipe.samples):
            for sign in lanes:
                weights = self._perturbed(unit, sign, now.settings, sample)
                self._advance(now, unit, weights, self._lanes(sample, sign))

    def _advance(
        self, now: Step, unit: Unit, weights: Sequence[Tensor], lanes: Sequence[int]
    ) -> None:
        with bound(reads(unit).parameters, weights):
            for lane in lanes:
                now.traversal.advance(lane, unit.number)

    def _lanes(self, sample: int, sign: str) -> range:
        """Lanes are sample x sign x microbatch, microbatches fastest."""
        count = self.recipe.microbatches
        first = (2 * sample + "+-".index(sign)) * count
        return range(first, first + count)

    def _unperturbed(self, unit: Unit) -> tuple[Tensor, ...]:
        return (*self.arena.theta(unit), *self._borrowed(unit))

    def _borrowed(self, unit: Unit) -> list[Tensor]:
        """Current weights of what the unit reads and a resident unit owns."""
        owned: Mapping[str, Tensor] = {
            p.name: tensor
            for owner in self.units.order
            if owner.number != unit.number and owner.number in self.arena.resident
            for p, tensor in zip(owner.parameters, self.arena.theta(owner), strict=True)
        }
        return [owned[p.name] for p in unit.borrowed]

    def _perturbed(
        self, unit: Unit, sign: str, settings: StepSettings, sample: int
    ) -> Sequence[Tensor]:
        """W+ or W- in scratch; frozen parameters as they are."""
        copies = len(self.arena.scratch)
        room = self.arena.perturbed(unit, "+-".index(sign) % copies)
        weights: list[Tensor] = []
        triples = zip(reads(unit).parameters, self._unperturbed(unit), room, strict=True)
        for parameter, theta, out in triples:
            if parameter.trainable:
                coefficient = SIGNS[sign] * settings.eps
                self._perturb(out, theta, parameter, coefficient, settings.keys[sample])
            weights.append(out if parameter.trainable else theta)
        return weights

    def _perturb(
        self, out: Tensor, theta: Tensor, parameter: UnitParameter, coefficient: float, key: int
    ) -> None:
        flat_out, flat_theta = out.view(-1), theta.view(-1)
        place = _place(parameter)
        perturb(flat_out, flat_theta, place, key=key, coefficient=coefficient, kind=self.kind)

    def _loss(self, step: int) -> None:
        now = self.steps[step]
        losses = tuple(float(loss) for loss in now.traversal.losses())
        if not now.settings.keys:
            now.outcome = Outcome(step=step, losses=losses)
        else:
            now.outcome = self.kept[step] = outcome(now.settings, losses, self.recipe)


def lane_batches(batches: Sequence[Any], recipe: Recipe) -> list[Any]:
    """A batch per lane: every sample and sign reads every microbatch."""
    return [*batches] * (2 * recipe.samples)


def _place(parameter: UnitParameter) -> Place:
    return Place(p=parameter.index)


def _nothing() -> None:
    """A journal that nobody asked for, or an allocation that the arena made before."""
