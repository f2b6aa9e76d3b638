"""Resources: what running operations contend for. Tracks are orders; these belong to a machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Any

import numpy as np

from zo2sim.schedule.ops import Stream, Track

Number = Any
"""A float, or an array with one value per plan: the cost formulas serve both."""


class Resource(StrEnum):
    """One capacity per resource; amounts are bytes, or seconds for compute and core-seconds.

    Every device has its own compute, link and way from its peers; the others are the host's. A way
    from a peer, and one to the memory of another socket, are seconds, as each pair has its rate.
    ``CORES`` are those that compute for several devices, in seconds of all of them.
    """

    COMPUTE = "compute"
    LINK_H2D = "link_h2d"
    LINK_D2H = "link_d2h"
    DRAM = "dram"
    CPU = "cpu"
    NVME_READ = "nvme_read"
    NVME_WRITE = "nvme_write"
    PEER = "peer"
    FAR = "far"
    ISSUE = "issue"
    CORES = "cores"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoWays:
    """Bytes per second up and down, each alone and both at once."""

    h2d: Number
    d2h: Number
    both_h2d: Number
    both_d2h: Number

    def of(self, *, up: bool, both: bool) -> Number:
        """One way's rate, with the other one idle or busy."""
        if up:
            return self.both_h2d if both else self.h2d
        return self.both_d2h if both else self.d2h


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Of several devices the uplink and the socket of each, by number, and what one of these gives.

    An uplink with one device behind it is that device's own link.
    """

    uplinks: tuple[int, ...]
    sockets: tuple[int, ...]
    link: TwoWays
    uplink: TwoWays
    socket_dram: float

    @property
    def num_sockets(self) -> int:
        """Sockets with a device."""
        return len({*self.sockets})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a machine offers: bytes per second, or cores; the device computes 1 s per second.

    While copies run in both directions the link gives ``both_h2d`` and ``both_d2h``. ``sharing`` is
    there where several devices share more than the host's memory.
    """

    link_h2d: Number
    link_d2h: Number
    both_h2d: Number
    both_d2h: Number
    dram: Number
    cpu: Number
    nvme_read: Number
    nvme_write: Number
    peer: Number = 1.0
    far: Number = 1.0
    issue: Number = 1.0
    cores: Number = np.inf
    compute: Number = 1.0
    sharing: Sharing | None = None

    def of(self, resource: Resource) -> Number:
        """Capacity of one resource while nothing runs in the other direction."""
        return getattr(self, resource.value)

    @property
    def all_dram(self) -> Number:
        """What the memory of all sockets gives together."""
        shared = self.sharing
        return self.dram if shared is None else shared.socket_dram * shared.num_sockets

    @property
    def link(self) -> TwoWays:
        """The link's rates by themselves."""
        return TwoWays(
            h2d=self.link_h2d,
            d2h=self.link_d2h,
            both_h2d=self.both_h2d,
            both_d2h=self.both_d2h,
        )

    @property
    def duplex(self) -> bool:
        """Copies in one direction do not slow those in the other."""
        return bool(self.both_h2d == self.link_h2d and self.both_d2h == self.link_d2h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Cost of one operation: a fixed time, then amounts that flow through resources together.

    ``gap_s`` is what the host needs from its end until its own stream can go on, ``wake_s`` until
    the stream that computes can start what waits for it; all other streams are asked at once.
    ``in_turn`` are amounts that flow after the others, and of operations on one unit one after the
    other, whatever their device.
    """

    fixed_s: Number = 0.0
    amounts: Mapping[Resource, Number]
    in_turn: "Work | None" = None
    gap_s: Number = 0.0
    wake_s: Number = 0.0

    def alone_s(self, rates: Rates) -> Number:
        """Time until its stream goes on, when nothing else runs: fixed, slowest flow, gap."""
        flows_s = sum(part.flow_s(rates) for part in self.parts)
        return self.fixed_s + flows_s + self.gap_s

    @property
    def parts(self) -> tuple["Work", ...]:
        """What flows, one after the other."""
        return (self,) if self.in_turn is None else (self, self.in_turn)

    @property
    def late_s(self) -> Number:
        """From when its own stream goes on to when others see its end late (`sees_late`); may be
        below 0."""
        return self.wake_s - self.gap_s

    def flow_s(self, rates: Rates) -> Number:
        """Duration of the first flow alone: the slowest resource."""
        times = [amount / rates.of(r) for r, amount in self.amounts.items()]
        return reduce(np.maximum, times, 0.0)


def sees_late(after: Track, before: Track) -> bool:
    """Between a stream that computes and other streams an end is seen `Work.late_s` later.

    Those others have no gaps of their own. What computes on another device sees it when its own
    stream goes on.
    """
    return after.stream is not before.stream and Stream.COMPUTE in (after.stream, before.stream)
