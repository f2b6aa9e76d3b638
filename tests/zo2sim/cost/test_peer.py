"""What several devices add to costs: ways between them, groups of lanes, slices, far memory."""

import dataclasses

import pytest

from zo2sim.cost import CostModel, cost_key
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.schedule.ops import Kind, Op
from zo2sim.simulate.work import Resource, Work

MODEL = preset("opt-1.3b")
HIDDEN = 2048
RECIPE = Recipe(sequence=512, microbatches=4)
LANE_BYTES = 512 * HIDDEN * 2


def works(machine: str, **plan: object) -> dict[str, Work]:
    """The steady period's operations with what they cost."""
    chosen = dataclasses.replace(Plan(), **plan)  # pyright: ignore[reportArgumentType]
    cost = CostModel.of(MODEL, named(machine), chosen, RECIPE)
    ops = build(Shape.of(MODEL), chosen, RECIPE).period.ops
    return {op.name: cost(op) for op in ops}


def test_a_group_s_hidden_states_hop_through_the_host():
    """Two of four microbatches of one sign, at 20 GB/s; both links and the memory are loaded."""
    hop = works("4x-rtx-4090", devices=4, lane_groups=2)["X1%1"]
    nbytes = 2 * LANE_BYTES
    assert hop.fixed_s == 15e-6
    assert hop.amounts == {
        Resource.PEER: nbytes / 20e9,
        Resource.LINK_H2D: nbytes,
        Resource.LINK_D2H: nbytes,
        Resource.DRAM: 2 * nbytes,
    }


def test_nvlink_loads_nothing_else():
    hop = works("8x-h100", devices=8, lane_groups=4)["X1%1"]
    assert hop.amounts == {Resource.PEER: LANE_BYTES / 376e9}


def test_a_gather_takes_what_was_measured():
    """All of a block over NCCL's rate for four; on a box without peers the links carry it."""
    nbytes = MODEL.blocks[0].elements * 2
    fast = works("8x-a100", devices=4, placement="sliced")
    assert fast["K3"].amounts == {Resource.PEER: pytest.approx(nbytes / 255e9)}
    slow = works("8x-l40s", devices=4, placement="sliced")["K3%1"].amounts
    assert slow[Resource.PEER] == pytest.approx(nbytes / 6.3e9)
    assert slow[Resource.LINK_H2D] == pytest.approx(nbytes * 3 / 4)
    assert slow[Resource.LINK_D2H] == pytest.approx(nbytes / 4)


def test_where_no_gather_was_measured_a_device_reads_what_it_lacks():
    nbytes = MODEL.blocks[0].elements * 2
    found = works("4x-rtx-4090", devices=4, placement="sliced")["K3"]
    assert found.amounts[Resource.PEER] == pytest.approx(nbytes * 3 / 4 / 20e9)


def test_slices_add_up_to_the_block():
    whole = works("8x-a100", devices=1)
    parts = works("8x-a100", devices=4, placement="sliced")
    for letter, resource in (("H", Resource.LINK_H2D), ("D", Resource.LINK_D2H)):
        each = [parts[f"{letter}3{mark}"].amounts[resource] for mark in ("", "%1", "%2", "%3")]
        assert sum(each) == whole[f"{letter}3"].amounts[resource]
        assert max(each) - min(each) <= 2 * 128
    assert parts["U3"].amounts[Resource.COMPUTE] == pytest.approx(
        whole["U3"].amounts[Resource.COMPUTE] / 4, rel=0.01
    )


@pytest.mark.parametrize("copies", [1, 2])
def test_what_a_ring_builds_ahead_no_group_of_lanes_builds(copies: int):
    """Lanes of four groups and their W take as long as all of it at once on one device."""
    alone = works("8x-h100", scratch_copies=copies)["F3"].amounts[Resource.COMPUTE]
    ring = works("8x-h100", devices=8, lane_groups=2, scratch_copies=copies)
    taken = {n: w.amounts.get(Resource.COMPUTE, 0.0) for n, w in ring.items()}
    built = [taken[name] for name in ("Z3%3", "Z3%3/2") if name in taken]
    lanes = [taken[name] for name in ("F3%3", "F3%3/1", "F3%3/2", "F3%3/3")]
    assert len(built) == 3 - copies
    assert min(built) > 0.0
    assert len({*lanes}) == 1
    assert sum(lanes) + sum(built) == pytest.approx(alone)


def test_blocks_of_the_other_socket_come_slower():
    """Whole blocks are dealt over sockets: half of what a device uploads is far."""
    found = works("8x-a100", devices=8, placement="whole")
    near, far = found["H3"], found["H5"]
    assert Resource.FAR not in near.amounts
    nbytes = far.amounts[Resource.LINK_H2D]
    link = named("8x-a100").link.h2d_bytes_per_s.value
    assert far.amounts[Resource.FAR] == pytest.approx(nbytes / (0.35 * link))
    assert Resource.FAR in found["H3%7"].amounts
    assert all(Resource.FAR not in w.amounts for w in works("8x-a100", devices=8).values())


def test_launches_of_all_devices_are_one_interpreter_s():
    found = works("8x-a100", devices=8, lane_groups=4)["F3%3"].amounts
    assert 0.0 < found[Resource.ISSUE] < found[Resource.COMPUTE]
    assert Resource.ISSUE not in works("8x-a100")["F3"].amounts


@pytest.mark.parametrize(("machine", "has"), [("rtx-4090-24gb", 1), ("4x-rtx-4090", 4)])
def test_a_plan_for_more_devices_than_there_are_is_refused(machine: str, has: int):
    message = f"devices=8 needs a machine with as many; {machine} has {has}: use one that"
    with pytest.raises(ValueError, match=message):
        _ = CostModel.of(MODEL, named(machine), Plan(devices=8), RECIPE).rates


def test_one_device_of_a_node_costs_what_it_did():
    assert works("8x-a100") == works("a100-sxm-80gb")
    op = Op(kind=Kind.H2D, stream="h2d", unit=3)  # pyright: ignore[reportArgumentType]
    assert tuple(cost_key(MODEL, op))[:4] == (Kind.H2D, 0, "", 0)
