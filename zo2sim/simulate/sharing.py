"""What several devices share on their way to the host: pools, and what an operation draws of each.

A pool is the two directions of a device's link, those of an uplink that others are behind, too, the
memory of a socket, and the one interpreter that launches for all; where parts of the host's cores
are the devices, those cores. The two directions of a link or an uplink are slower together than
each alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from math import inf
from typing import NamedTuple

from zo2sim.schedule.ops import HEAD, BufferSpace, Kind, Op, Stream
from zo2sim.simulate.work import Number, Resource, Sharing, Work


class Shared(StrEnum):
    """Kinds of pools."""

    LINK = "link"
    UPLINK = "uplink"
    DRAM = "dram"
    ISSUE = "issue"
    CORES = "cores"


class Pool(NamedTuple):
    """One of a kind; a link and an uplink have a pool for each way."""

    kind: Shared
    number: int = 0
    up: bool = True


_CORES = Pool(Shared.CORES)


def draws(op: Op, work: Work, sharing: Sharing) -> dict[Pool, float]:
    """How much the whole operation takes of every pool, above 0."""
    found: dict[Pool, float] = {}
    for pool, amount in every_draw(op, work, sharing):
        if float(amount) > 0.0:
            found[pool] = found.get(pool, 0.0) + float(amount)
    return found


def capacities(used: Iterable[Pool], sharing: Sharing) -> dict[Pool, float]:
    """What every pool that is used gives per second, named once for each that uses it.

    Of a link, a way has less where the other one is used, too. Who has the cores to itself goes at
    its own speed.
    """
    busy = Counter(used)
    found = {pool: _capacity(pool, sharing, both=other_way(pool) in busy) for pool in busy}
    if busy[_CORES] == 1:
        found[_CORES] = inf
    return found


def other_way(pool: Pool) -> Pool:
    """The same link or uplink in the other direction."""
    return pool._replace(up=not pool.up)


def sender(op: Op) -> int:
    """The device that bytes come down from: of a copy between devices the other one's."""
    if op.kind is not Kind.SEND:
        return op.device
    return next(b.device for b in op.reads if b.space is BufferSpace.ACTIVATIONS)


def turn_of(op: Op) -> int:
    """What an operation takes turns for (`Work.in_turn`): its unit, of which head and tail are one,
    as they share the buffers that no block has."""
    assert op.unit is not None, f"{op.name} is about no unit"
    return max(op.unit, HEAD)


def _capacity(pool: Pool, sharing: Sharing, *, both: bool) -> float:
    match pool.kind:
        case Shared.LINK:
            return sharing.link.of(up=pool.up, both=both)
        case Shared.UPLINK:
            return sharing.uplink.of(up=pool.up, both=both)
        case Shared.DRAM:
            return sharing.socket_dram
        case Shared.ISSUE | Shared.CORES:
            return 1.0


def every_draw(op: Op, work: Work, sharing: Sharing) -> Iterator[tuple[Pool, Number]]:
    """`draws`, of one load or of many at once; what is nothing, too, and a pool more than once."""
    amounts = work.amounts
    for resource, up in _WAYS:
        if resource in amounts:
            device = op.device if up else sender(op)
            yield Pool(Shared.LINK, device, up), amounts[resource]
            if sharing.uplinks.count(sharing.uplinks[device]) > 1:
                yield Pool(Shared.UPLINK, sharing.uplinks[device], up), amounts[resource]
    if Resource.DRAM in amounts:
        sockets = (sharing.sockets[op.device],) if op.stream in _OF_DEVICE else {*sharing.sockets}
        for socket in sockets:  # what the host does, it does to blocks that all sockets have
            yield Pool(Shared.DRAM, socket), amounts[Resource.DRAM] / len(sockets)
    for resource, shared in _BY_ALL:
        if resource in amounts:
            yield Pool(shared), amounts[resource]


_WAYS = ((Resource.LINK_H2D, True), (Resource.LINK_D2H, False))
_BY_ALL = ((Resource.ISSUE, Shared.ISSUE), (Resource.CORES, Shared.CORES))
_OF_DEVICE = frozenset((Stream.H2D, Stream.COMPUTE, Stream.D2H, Stream.PEER))
