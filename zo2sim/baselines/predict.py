"""The answer to one case of first-order training: time, bound, memory, and whether it fits."""

from dataclasses import dataclass
from functools import cached_property

from zo2sim.baselines.cost import TrainingCost
from zo2sim.baselines.memory import account
from zo2sim.baselines.schedules import build
from zo2sim.baselines.training import Training
from zo2sim.machines.machine import Machine
from zo2sim.memory.account import Demand, MemoryAccount, fits
from zo2sim.models.shapes import Model
from zo2sim.policies import Shape
from zo2sim.schedule.ops import Program
from zo2sim.simulate.bounds import Bound, bound
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Breakdown, Trace, breakdown


@dataclass(frozen=True, kw_only=True)
class TrainingCase:
    """One model, machine and way to train; raises ``ValueError`` where they do not go together."""

    model: Model
    machine: Machine
    training: Training

    @property
    def program(self) -> Program:
        return build(Shape.of(self.model), self.training)

    @property
    def cost(self) -> TrainingCost:
        return TrainingCost(model=self.model, machine=self.machine, training=self.training)

    @property
    def memory(self) -> MemoryAccount:
        """The account, with the machine's context."""
        context_bytes = int(self.machine.device.context_bytes.value)
        return account(self.model, self.training, context_bytes=context_bytes)

    @property
    def fits(self) -> tuple[Demand, ...]:
        """Device, host and NVMe against the machine."""
        return fits(self.memory, self.machine)


@dataclass(frozen=True, kw_only=True)
class TrainingPrediction:
    """What is predicted for a case, per optimizer step of the steady state."""

    case: TrainingCase
    trace: Trace
    bound: Bound

    @property
    def step_s(self) -> float:
        return self.trace.step_s

    @property
    def tokens_per_s(self) -> float:
        return self.case.training.tokens_per_step / self.step_s

    @property
    def flops_per_s(self) -> float:
        """As publications count: 8 per parameter and token with recomputation, 6 without."""
        per_token = self.case.training.flops_per_parameter_token * self.case.model.elements
        return per_token * self.tokens_per_s

    @property
    def gap(self) -> float:
        """How far the step is above its lower bound, as a share of the bound."""
        return self.step_s / self.bound.step_s - 1.0

    @cached_property
    def steady(self) -> Breakdown:
        """Where a step's time goes."""
        return breakdown(self.trace, self.trace.steady)


def predict(case: TrainingCase) -> TrainingPrediction:
    """Simulate a case on its machine."""
    program, cost = case.program, case.cost
    return TrainingPrediction(
        case=case,
        trace=simulate(program, cost, cost.rates),
        bound=bound(program, cost, cost.rates),
    )
