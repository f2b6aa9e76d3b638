"""What several cards share, and what they gain: copies of all at once, and DistZO2's speed-up.

What a prediction must lie in to agree stands in `plausible_setups.toml`, written down before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.claims.row import Row, value
from analysis.claims.setups import device_setups, shared_setups
from zo2sim.cost import CostModel
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import asked
from zo2sim.predict.predict import predict
from zo2sim.schedule.ops import Kind, Op, Stream
from zo2sim.simulate.pools import Flow, rates
from zo2sim.simulate.sharing import capacities, draws
from zo2sim.simulate.work import Resource, Work

_GB = 1e9
_LESS = (
    "what is predicted is this project's schedule, whose uploads, updates and gathers all overlap, "
    "and a card more brings a microbatch more, too: the published figure may be of fewer cards, "
    "of the same data, or of copies that wait for each other"
)
_WAYS = {
    Resource.LINK_H2D: (Kind.H2D, Stream.H2D),
    Resource.LINK_D2H: (Kind.D2H, Stream.D2H),
}


def device_rows() -> Iterator[Row]:
    """Every claim about several cards in one computer."""
    for one in shared_setups():
        yield _shared_row(one)
    for one in device_setups():
        yield _speedup_row(one)


def _shared_row(one: Mapping[str, Any]) -> Row:
    every, both = one["value"] != "one_gb_per_s", one["claim"] == "nvbandwidth-all-a100"
    each = upload_bytes_per_s(one["machine"], every=every, both=both)
    predicted = (sum(each) if one["value"] == "all_gb_per_s" else each[0]) / _GB
    agrees = one["low"] <= predicted <= one["high"]
    return Row(
        claim=one["claim"],
        item=one["value"],
        kind="speed",
        unit="GB/s",
        published=value(one["claim"], one["value"]),
        predicted=predicted,
        agrees=agrees,
        why=one["why"] if agrees else f"{one['why']}; {_by_class(one['machine'])}",
    )


def _by_class(machine: str) -> str:
    """Why a box may differ: its uplinks are those of their class."""
    both = named(machine).link.both_h2d_bytes_per_s
    low, high = both.interval
    return (
        f"an uplink is taken as the median of its class of links both ways, {both.value / _GB:.1f} "
        f"GB/s ({low / _GB:.1f} to {high / _GB:.1f}), and this box's gave 11 to one card alone"
    )


def upload_bytes_per_s(machine: str, *, every: bool, both: bool) -> list[float]:
    """What each card uploads per second where one alone, or every one, copies; ``both`` ways, or up
    alone."""
    found = named(machine)
    count = found.node.devices if found.node is not None else 1
    plan = Plan(devices=count)
    cost = CostModel.of(preset("opt-125m"), found, plan, Recipe())
    sharing = cost.rates.sharing
    assert sharing is not None, f"{machine} has several devices"
    ways = (*_WAYS,) if both else (Resource.LINK_H2D,)
    works = [
        (Op(kind=_WAYS[way][0], stream=_WAYS[way][1], unit=0, device=device), _copy(way))
        for way in ways
        for device in range(count if every else 1)
    ]
    flows = [
        Flow(float(cost.rates.of(op_way(work))), draws(op, work, sharing)) for op, work in works
    ]
    room = capacities((pool for flow in flows for pool in flow.amounts), sharing)
    speeds = rates(flows, room)
    return [s for s, (op, _) in zip(speeds, works, strict=True) if op.kind is Kind.H2D]


def op_way(work: Work) -> Resource:
    """The way of the link that a copy goes."""
    return next(way for way in _WAYS if way in work.amounts)


def _copy(way: Resource) -> Work:
    return Work(amounts={way: 1.0, Resource.DRAM: 1.0})


def _speedup_row(one: Mapping[str, Any]) -> Row:
    found, alike = zip(*(_speedups(one, count) for count in one["devices"]), strict=True)
    said = (
        f"tokens per second over one card's: {_each(one, found)}; with as many microbatches on one "
        f"card: {_each(one, alike)}; {one['why']}"
    )
    agrees = one["low"] <= found[0] <= one["high"]
    return Row(
        claim=one["claim"],
        item=one["value"],
        kind="ratio",
        unit="ratio",
        published=value(one["claim"], one["value"]),
        predicted=found[0],
        agrees=agrees,
        why=said if agrees else f"{said}; {_LESS}",
        low=min(found),
        high=max(found),
    )


def _each(one: Mapping[str, Any], found: Sequence[float]) -> str:
    pairs = zip(one["devices"], found, strict=True)
    return ", ".join(f"{count} cards {speedup:.2f}" for count, speedup in pairs)


def _speedups(one: Mapping[str, Any], count: int) -> tuple[float, float]:
    """Tokens per second of so many devices over those of one with one microbatch, and with as
    many."""
    model, machine = preset(one["model"]), named(one["machine"])
    groups = one.get("lane_groups", 1)
    plan = Plan(devices=count, placement=one["placement"], lane_groups=groups)
    recipe = replace(Recipe(), microbatches=plan.lane_parts)
    many = predict(asked(model, machine, plan, recipe)).tokens_per_s
    one_each, alike = (
        many / predict(asked(model, machine, Plan(), own)).tokens_per_s
        for own in (Recipe(), recipe)
    )
    return one_each, alike
