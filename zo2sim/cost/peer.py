"""Between devices: a group's activations to the next one, and a block's slices to all.

A way from a peer takes seconds of `Resource.PEER`, at the rate of its route. What goes through the
host also loads the links on both ends, and the memory in between twice.
"""

from zo2sim.cost.crowded import crowded
from zo2sim.cost.setting import Setting
from zo2sim.machines.node import Node, Route
from zo2sim.simulate.work import Number, Resource, Sharing, TwoWays, Work

STAGED_PASSES = 2
"""The host's memory between two devices is written, and read."""


def send(s: Setting, lanes: str, sender: int, receiver: int) -> Work:
    """Hidden states of every lane of the group, from one device to another one.

    Between parts of the host's cores it is a copy in memory, read and written.
    """
    samples = 1 if lanes == "0" else s.load.samples
    tokens = s.load.lane_tokens * s.load.microbatches * samples
    nbytes = tokens * len(lanes) * s.model.hidden * s.recipe.compute_dtype.bytes
    node = s.several
    if node is None:
        return Work(amounts={Resource.DRAM: STAGED_PASSES * nbytes})
    route = node.route(sender, receiver)
    seconds = nbytes / node.peer_bytes_per_s(sender, receiver).value
    amounts = {Resource.PEER: seconds, **_through_host(route, nbytes, nbytes)}
    return Work(fixed_s=node.peer_latency_s.value, amounts=amounts)


def gather(s: Setting, unit: int, receiver: int) -> Work:
    """The slices of a block that the other devices have; all gather at once.

    Where nobody measured that, a device reads what it lacks at the rate of its route.
    """
    node, count = s.several, s.plan.devices
    nbytes = s.unit_bytes(unit, s.recipe.wire_dtype)
    lacking = nbytes * (count - 1) / count
    if node is None:
        return Work(amounts={Resource.DRAM: STAGED_PASSES * lacking})
    measured = node.gather_bytes_per_s(count)
    if measured is None:
        seconds = lacking / node.peer_bytes_per_s(receiver, (receiver + 1) % count).value
    else:
        seconds = nbytes / measured
    amounts = {
        Resource.PEER: seconds,
        **_through_host(_route(node, count), lacking, nbytes / count),
    }
    return Work(fixed_s=node.peer_latency_s.value, amounts=amounts)


def is_far(s: Setting, home: int, device: int) -> bool:
    """Whether a block lies with another socket than the device that copies it.

    Blocks that every device uploads are dealt over the sockets, as on a ring over the devices; all
    others lie with the device that uploads them.
    """
    node = s.several
    if node is None or s.plan.placement != "whole":
        return False
    return node.socket_of(home) != node.socket_of(device)


def sharing(s: Setting, link: TwoWays) -> Sharing | None:
    """What the plan's devices share; ``link`` is what one's own link gives under this plan. None
    for one device, and for parts of the host's cores of which nobody measured how they do."""
    node, numbers = s.several, range(s.plan.devices)
    if node is None:
        return None if crowded(s) is None else _of_cores(s, link)
    return Sharing(
        uplinks=tuple(node.uplink_of(device) for device in numbers),
        sockets=tuple(node.socket_of(device) for device in numbers),
        link=link,
        uplink=TwoWays(
            h2d=node.uplink_h2d_bytes_per_s.value,
            d2h=node.uplink_d2h_bytes_per_s.value,
            both_h2d=node.uplink_both_h2d_bytes_per_s.value,
            both_d2h=node.uplink_both_d2h_bytes_per_s.value,
        ),
        socket_dram=node.socket_dram_bytes_per_s.value,
    )


def _of_cores(s: Setting, link: TwoWays) -> Sharing:
    """Parts of the host's cores: links of their own, and one memory."""
    return Sharing(
        uplinks=tuple(range(s.plan.devices)),
        sockets=(0,) * s.plan.devices,
        link=link,
        uplink=link,
        socket_dram=s.machine.host.dram_bytes_per_s.value,
    )


def _route(node: Node, count: int) -> Route:
    """The slowest way between any of the first devices."""
    routes = {node.route(0, other) for other in range(1, count)}
    order: tuple[Route, ...] = ("host", "p2p", "nvlink")
    return next(route for route in order if route in routes)


def _through_host(route: Route, up: Number, down: Number) -> dict[Resource, Number]:
    """What a way through the host, or over its ports, takes beside its own time."""
    if route == "nvlink":
        return {}
    links: dict[Resource, Number] = {Resource.LINK_H2D: up, Resource.LINK_D2H: down}
    return links if route == "p2p" else {**links, Resource.DRAM: STAGED_PASSES * up}
