"""The memory account of several devices: one each, the fullest decides, the host's is one."""

from dataclasses import replace

import pytest

from tests.zo2sim.memory.test_runtime import BLOCK_BYTES, NO_CONTEXT, SHORT, TINY, host
from zo2sim.memory.account import CACHED, MemoryPlace
from zo2sim.memory.runtime import account
from zo2sim.plan.choices import Placement, Plan, Recipe


def on_devices(plan: Plan, recipe: Recipe = SHORT) -> list[dict[str, int]]:
    """What each device needs, by name."""
    found = account(TINY, plan, recipe, context_bytes=NO_CONTEXT).items
    return [
        {i.name: i.num_bytes for i in found if i.place is MemoryPlace.DEVICE and i.device == d}
        for d in range(plan.devices)
    ]


def test_on_a_ring_the_first_device_has_the_ends_and_each_its_own_blocks():
    first, second = on_devices(Plan(devices=2, num_slots=3))
    assert (first["resident units"], second["resident units"]) == (128_000 + 256 + 128_000, 0)
    assert first["slots"] == second["slots"] == 2 * BLOCK_BYTES
    assert second["scratch"] == BLOCK_BYTES
    assert first["hidden states"] == second["hidden states"] == 2 * 32 * 64 * 2
    assert second["workspace of one lane"] < first["workspace of one lane"]
    assert second["tokens and labels"] == 0


def test_the_fullest_device_counts_and_the_blocks_are_at_home_once():
    plan = Plan(devices=2, num_slots=3)
    whole = account(TINY, plan, SHORT, context_bytes=NO_CONTEXT)
    assert whole.device_bytes == whole.by_device[0] > whole.by_device[1]
    assert whole.by_device[1] == sum(on_devices(plan)[1].values())
    assert whole.itemised(MemoryPlace.DEVICE)["tokens and labels"] == 32 * 16
    assert host(plan) == host(replace(plan, devices=1))


def test_residents_of_a_ring_are_shared_by_its_devices():
    first, second = on_devices(Plan(devices=2, resident_blocks=3))
    assert sorted((first["resident blocks"], second["resident blocks"])) == [
        BLOCK_BYTES,
        2 * BLOCK_BYTES,
    ]


@pytest.mark.parametrize("placement", ["whole", "sliced"])
def test_who_takes_lanes_has_everything_but_the_others_lanes(placement: Placement):
    plan = Plan(devices=2, placement=placement)
    first, second = on_devices(plan)
    assert first == second
    alone = on_devices(Plan())[0]
    assert {name for name in alone if first[name] != alone[name]} == {"hidden states", CACHED}
    assert first["hidden states"] == 32 * 64 * 2


def test_in_host_memory_the_needs_of_all_devices_add_up():
    whole = account(TINY, Plan(devices=2), SHORT, context_bytes=NO_CONTEXT)
    assert whole.on_one_memory.host_bytes == whole.host_bytes + sum(whole.by_device)
