"""How much several devices slow each other, from runs that took what is predicted of them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from math import log

import pytest

from experiments.campaign.crowded import with_crowded
from experiments.campaign.designs import crowded_runs, held_out_runs, several_runs
from experiments.campaign.recorded_run import case_of
from tests.calibrated import quantity, referenced_host, references_s
from tests.thorough import THOROUGH, some_of
from zo2rt.measure.calm import Turn
from zo2rt.measure.runs import MeasuredRun
from zo2sim.machines.machine import Machine
from zo2sim.predict.bands import band
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


def runs(machine: Machine, count: int, off: float = 1.0) -> list[MeasuredRun]:
    """As they would be on a machine, of models with three blocks, beside the references there; by
    turns longer and shorter than that by the factor ``off``."""
    beside_s = references_s(machine)
    found: list[MeasuredRun] = []
    for number, design in enumerate(islice(crowded_runs(), count)):
        spec = replace(design, config={**design.config, "num_hidden_layers": 3})
        step_s = predict(case_of(spec, machine)).step_s * (1.0 / off if number % 2 else off)
        turns = [Turn(steps_s=dict.fromkeys(range(4), step_s), references_s=beside_s)] * 3
        found.append(MeasuredRun(spec=spec, trace=NONE, turns=turns))
    return found


def ratios_of(machine: Machine) -> Sequence[float]:
    cpu = machine.cpu
    assert cpu is not None
    assert cpu.crowded_ratio is not None
    assert cpu.crowded_launch_ratio is not None
    return cpu.crowded_ratio.value, cpu.crowded_launch_ratio.value


@pytest.mark.parametrize("drift", some_of([Drift(computing=1.1, starting=1.2), Drift()], every=2))
def test_the_ratios_are_those_that_the_runs_had(drift: Drift):
    had = (1.5, 2.7)
    machine = drifted(crowded(*had), drift)
    found = with_crowded(on_two_cores(), runs(machine, 2), "a test")
    assert ratios_of(found) == pytest.approx(had, rel=0.05)
    assert found.cpu is not None
    assert found.cpu.crowded_misfit_ratio is None, "two runs are met by two ratios"


def test_two_runs_that_go_on_side_by_side_have_ratios_of_one():
    found = with_crowded(on_two_cores(), runs(crowded(1.0, 1.0), 2), "a test")
    assert ratios_of(found) == pytest.approx((1.0, 1.0), rel=0.05)


def test_what_the_ratios_leave_is_the_scatter_of_several_devices():
    had = crowded(1.5, 2.7)
    found = with_crowded(on_two_cores(), runs(had, 6 if THOROUGH else 5, off=1.1), "a test")
    assert found.cpu is not None
    assert found.cpu.crowded_misfit_ratio is not None
    assert found.cpu.crowded_misfit_ratio.value == pytest.approx(log(1.1), rel=0.35)


@pytest.mark.parametrize(("devices", "wider"), [(1, False), (2, True)])
def test_it_is_in_the_bands_of_several_devices_only(devices: int, wider: bool):
    machine = crowded(1.5, 2.7)
    assert machine.cpu is not None
    scattered = replace(machine, cpu=replace(machine.cpu, crowded_misfit_ratio=quantity(0.2)))
    spec = next(several_runs())
    spec = replace(spec, plan=replace(spec.plan, devices=devices))
    widths = [band(predict(case_of(spec, m))).width for m in (machine, scattered)]
    assert (widths[1] > 2.0 * widths[0]) is wider
    assert wider or widths[0] == widths[1]


def test_each_placement_is_looked_at_and_no_model_that_is_held_out():
    specs = [*crowded_runs()]
    held_out = [spec.config for spec in (*held_out_runs(), *several_runs())]
    assert {spec.plan.placement for spec in specs} == {"ring", "whole", "sliced"}
    assert {spec.plan.devices for spec in specs} == {2}
    assert all(spec.config not in held_out for spec in specs)
