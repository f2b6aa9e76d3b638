"""How much several devices slow each other, from runs that took what is predicted of them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import pytest

from experiments.campaign.crowded import with_crowded
from experiments.campaign.designs import crowded_runs, held_out_runs, several_runs
from experiments.campaign.recorded_run import case_of
from tests.calibrated import quantity, referenced_host, references_s
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import MeasuredRun
from zo2sim.machines.machine import Machine
from zo2sim.predict.drift import Drift, drifted
from zo2sim.predict.predict import predict
from zo2sim.simulate.trace import Trace

NONE = Trace(name="none", steps_per_period=1, spans=())


def on_two_cores() -> Machine:
    host = referenced_host()
    return replace(host, host=replace(host.host, num_cores=quantity(2.0)))


def crowded(ratio: float, launch_ratio: float) -> Machine:
    machine = on_two_cores()
    assert machine.cpu is not None
    ratios = {
        "crowded_ratio": quantity(ratio),
        "crowded_launch_ratio": quantity(launch_ratio),
    }
    return replace(machine, cpu=replace(machine.cpu, **ratios))


def runs(machine: Machine, count: int) -> list[MeasuredRun]:
    """As they would be on a machine, beside the references there."""
    beside_s = references_s(machine)
    found: list[MeasuredRun] = []
    for spec in islice(crowded_runs(), count):
        step_s = predict(case_of(spec, machine)).step_s
        turns = [Turn(steps_s=dict.fromkeys(range(4), step_s), references_s=beside_s)]
        found.append(MeasuredRun(spec=spec, trace=NONE, turns=turns))
    return found


def ratios_of(machine: Machine) -> Sequence[float]:
    cpu = machine.cpu
    assert cpu is not None
    assert cpu.crowded_ratio is not None
    assert cpu.crowded_launch_ratio is not None
    return cpu.crowded_ratio.value, cpu.crowded_launch_ratio.value


@pytest.mark.parametrize("drift", [Drift(), Drift(computing=1.1, starting=1.2)])
def test_the_ratios_are_those_that_the_runs_had(drift: Drift):
    had = (1.5, 2.7)
    machine = drifted(crowded(*had), drift)
    found = with_crowded(on_two_cores(), runs(machine, 2), "a test")
    assert ratios_of(found) == pytest.approx(had, rel=0.05)


def test_two_runs_that_go_on_side_by_side_have_ratios_of_one():
    found = with_crowded(on_two_cores(), runs(crowded(1.0, 1.0), 2), "a test")
    assert ratios_of(found) == pytest.approx((1.0, 1.0), rel=0.05)


def test_each_placement_is_looked_at_and_no_model_that_is_held_out():
    specs = [*crowded_runs()]
    held_out = [spec.config for spec in (*held_out_runs(), *several_runs())]
    assert {spec.plan.placement for spec in specs} == {"ring", "whole", "sliced"}
    assert {spec.plan.devices for spec in specs} == {2}
    assert all(spec.config not in held_out for spec in specs)
