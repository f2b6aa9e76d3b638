"""Bands: as wide as the intervals say, and the same from the same seed."""

from dataclasses import replace
from math import exp

import pytest

from tests.calibrated import calibrated_host, quantity
from tests.thorough import crossed
from tests.zo2sim.cost.test_cpu import case
from zo2sim.cost.parts import KERNELS, parts_s
from zo2sim.machines.file import named, names
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.machines.what_if import replace_all
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.predict.bands import BOTH, MISFIT, SOCKET, Band, band
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict

RESIDENT = Plan(policy=Policy.RESIDENT)


def spread(wide: float | None = None, **changes: float) -> Case:
    return replace(case(RESIDENT), machine=calibrated_host(wide, **changes))


def banded(one: Case, **settings: int) -> Band:
    return band(predict(one), **settings)


def test_the_prediction_lies_in_its_band():
    one = spread(1.2)
    found = banded(one)
    assert found.low_step_s < predict(one).step_s < found.high_step_s
    assert found.low_tokens_per_s == 2 / found.high_step_s


def test_the_same_seed_gives_the_same_band():
    assert banded(spread(1.2), seed=3) == banded(spread(1.2), seed=3)
    assert banded(spread(1.2), seed=3) != banded(spread(1.2), seed=4)


def test_jitter_alone_gives_its_own_ninety_percent():
    found = banded(spread(misfit_ratio=1e-6, jitter_ratio=0.03), draws=400)
    assert found.width == pytest.approx(2 * 1.645 * 0.03, rel=0.2)


def test_the_misfit_is_common_to_all_that_computes():
    found = banded(spread(misfit_ratio=0.03, jitter_ratio=1e-6), draws=400)
    assert found.width == pytest.approx(2 * 1.645 * 0.03, rel=0.2)


def test_wider_intervals_give_wider_bands():
    narrow, wide = (banded(spread(w)).width for w in (1.02, 1.3))
    assert wide > 1.2 * narrow


def test_errors_that_cancel_make_a_narrower_band():
    quiet = {"misfit_ratio": 1e-6, "jitter_ratio": 1e-6}
    alone, together = (
        banded(spread(1.2, **quiet, together_ratio=ratio), draws=400).width for ratio in (1.0, 0.5)
    )
    assert together == pytest.approx(0.5 * alone, rel=0.1)


def test_what_calibration_could_not_tell_is_not_drawn():
    exact = banded(spread())
    machine = calibrated_host()
    assert machine.cpu is not None
    unknown = quantity(machine.cpu.turnaround_s.value, 100.0)
    cpu = replace(machine.cpu, turnaround_s=unknown)
    one = replace(case(RESIDENT), machine=replace(machine, cpu=cpu))
    assert banded(one).width == pytest.approx(exact.width, rel=0.3)


def slowed(machine: Machine, factor: float) -> Machine:
    """A card that takes ``factor`` times as long for everything that it computes."""
    keys = [k for k in machine.quantities if k.startswith("device.")]
    rates = {k: machine.quantities[k].value / factor for k in keys if k.endswith("_per_s")}
    launch = {"device.launch_s": machine.device.launch_s.value * factor}
    return replace_all(machine, {**rates, **launch})


def exact(machine: Machine) -> Machine:
    """The machine with no doubt about any of its numbers."""
    return replace_all(machine, {key: q.value for key, q in machine.quantities.items()})


@pytest.mark.parametrize(("microbatches", "every"), [(1, 1), (4, 1), (8, 2)])
def test_where_copies_slow_each_other_the_band_is_that_of_the_simulation(
    microbatches: int, every: int
):
    plan, recipe = Plan(write_back_every=every), Recipe(microbatches=microbatches)
    machine, model = exact(named("rtx-4090-24gb")), preset("opt-1.3b")
    one = Case(model=model, machine=machine, plan=plan, recipe=recipe)
    found, sigma = banded(one), one.cost.setting.kernels.gemm.errors["main"].log_sigma
    factors = (exp(-1.645 * sigma), exp(1.645 * sigma))
    ends = [predict(replace(one, machine=slowed(machine, f))).step_s for f in factors]
    assert (found.low_step_s, found.high_step_s) == pytest.approx(ends, rel=0.03)


def test_a_band_says_what_it_holds_and_what_it_lacks():
    model = preset("opt-1.3b")
    one = Case(model=model, machine=named("a100-pcie-80gb"), plan=Plan(), recipe=Recipe())
    found = banded(one)
    assert found.holds[1] == "scatter around kernel tables of a sibling card (2.2%)"
    assert set(found.lacks) == {"host.fsync_s", "host.stream_handover_s"}
    assert found.fits_share == 1.0
    nothing = banded(replace(one, machine=exact(one.machine)))
    assert nothing.holds == ("scatter around kernel tables of a sibling card (2.2%)",)
    assert set(nothing.lacks[:2]) == {"link.h2d_bytes_per_s", "link.d2h_bytes_per_s"}
    host = banded(spread(1.2))
    assert found.holds[0] == "intervals of 7 constants"
    assert host.holds[0] == "intervals of 25 constants"
    assert set(host.lacks) == {"host.fsync_s", "host.stream_handover_s"}
    assert host.holds[1:] == (
        "scatter of runs around their prediction (2.0%)",
        "scatter of repeated runs (0.5%)",
    )


@pytest.mark.parametrize(
    ("name", "plan"),
    crossed(
        [name for name in names() if name != "this-host"],
        [Plan(), RESIDENT, Plan(pinning="staged")],
    ),
)
def test_every_machine_of_the_catalogue_has_a_band(name: str, plan: Plan):
    one = Case(model=preset("opt-1.3b"), machine=named(name), plan=plan, recipe=Recipe())
    found = banded(one)
    assert found.low_step_s < predict(one).step_s < found.high_step_s
    assert found.width > 0.02


def test_where_the_link_binds_both_ways_its_own_interval_makes_the_band():
    one = Case(
        model=preset("opt-13b"),
        machine=named("rtx-4090-24gb"),
        plan=Plan(),
        recipe=Recipe(sequence=32),
    )
    found, link = banded(one), one.machine.link
    assert (found.widest, found.widest_share > 0.7) == (BOTH, True)
    ends = [
        both_ways(one, end / link.both_h2d_bytes_per_s.value)
        for end in link.both_h2d_bytes_per_s.interval
    ]
    slow, fast = (predict(replace(one, machine=machine)).step_s for machine in ends)
    assert fast < found.low_step_s < predict(one).step_s < found.high_step_s < slow
    assert found.high_step_s / found.low_step_s > (slow / fast) ** 0.7


def both_ways(one: Case, factor: float) -> Machine:
    """Its machine with other rates while both ways are busy, none above that of one way."""
    link = one.machine.link
    return replace_all(
        one.machine,
        {
            f"link.both_{way}_bytes_per_s": min(
                factor * one.machine.quantity(f"link.both_{way}_bytes_per_s").value,
                getattr(link, f"{way}_bytes_per_s").value,
            )
            for way in ("h2d", "d2h")
        },
    )


def test_what_makes_a_band_wide_is_named():
    resident = Case(
        model=preset("opt-1.3b"), machine=named("a100-sxm-80gb"), plan=RESIDENT, recipe=Recipe()
    )
    assert banded(resident).widest == KERNELS
    assert banded(replace(resident, machine=exact(resident.machine))).widest == MISFIT


@pytest.mark.parametrize("plan", [Plan(), Plan(tier="nvme"), Plan(pinning="pageable")])
def test_parts_make_the_whole_and_name_constants(plan: Plan):
    machines = (named("a100-pcie-80gb"), calibrated_host())
    machines = [m for m in machines if m.nvme is not None or plan.tier == "ram"]
    for one in (replace(case(plan), machine=machine) for machine in machines):
        known = one.machine.quantities
        for op in one.program.period.ops:
            parts = parts_s(one.cost, op)
            assert sum(parts.values()) == pytest.approx(one.cost(op).alone_s(one.cost.rates))
            assert all(key in known or key == KERNELS for key in parts)


def test_an_uncertain_size_makes_an_uncertain_verdict():
    machine = calibrated_host()
    needed = predict(case()).memory.device_bytes
    memory = replace(machine.device, memory_bytes=quantity(1.01 * needed, 1.2))
    share = banded(replace(case(), machine=replace(machine, device=memory))).fits_share
    assert 0.3 < share < 0.8


def test_a_band_needs_draws():
    with pytest.raises(ValueError, match="draws must be >= 20; got 19"):
        banded(case(), draws=19)


def on_eight(socket: Quantity | None = None) -> Case:
    """A ring on cards of which two are behind each uplink."""
    machine = named("8x-a100")
    assert machine.node is not None
    if socket is not None:
        machine = replace(machine, node=replace(machine.node, socket_dram_bytes_per_s=socket))
    recipe = Recipe(microbatches=4, sequence=256)
    plan = Plan(devices=8, lane_groups=4)
    return Case(model=preset("opt-6.7b"), machine=machine, plan=plan, recipe=recipe)


def test_where_uplinks_bind_their_rate_both_ways_makes_the_band():
    one = on_eight()
    found = banded(one)
    assert one.machine.node is not None
    low, high = one.machine.node.uplink_both_h2d_bytes_per_s.interval
    value = one.machine.node.uplink_both_h2d_bytes_per_s.value
    assert (found.widest, found.widest_share > 0.7) == (BOTH, True)
    assert found.high_step_s / predict(one).step_s == pytest.approx((value / low) ** 0.82, rel=0.1)
    assert high > value


def test_where_memory_binds_the_interval_of_a_socket_makes_the_band():
    socket = Quantity(3e10, "assumed", "test", low=2e10, high=4.5e10)
    found = banded(on_eight(socket))
    assert (found.widest, found.widest_share > 0.7) == (SOCKET, True)
    assert found.high_step_s / found.low_step_s > 1.5


def test_a_prediction_of_several_devices_says_what_lies_between_them():
    said = predict(on_eight()).provenance
    assert "NVIDIA/nccl-tests issue 149" in said["between devices"]
    assert "one port of the host for all behind it" in said["uplinks"]
    assert "one socket's" in said["memory of a socket"]
    assert "node.socket_dram_bytes_per_s" in said["assumed"]
    alone = predict(replace(on_eight(), plan=Plan())).provenance
    assert "uplinks" not in alone
    assert "node." not in alone["assumed"]
