"""Ranks of one machine share its memory: whether what all of them are about to take is there."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from platform import node

import torch
from torch import Tensor

from zo2rt.exchange import Exchange
from zo2rt.memory.mapped import given_back_bytes
from zo2rt.memory.room import free_host_bytes
from zo2sim.memory.account import DoesNotFit, MemoryAccount, show_bytes

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def check_together(
    exchange: Exchange, account: MemoryAccount, device: torch.device, weights: Sequence[Tensor]
) -> None:
    """Raise `DoesNotFit` on every rank where those of one machine need more than it has free.

    Each keeps a copy of all that one process would; what its ``weights`` take now is given back.
    Called before anything is allocated, and returns after every rank has looked.
    """
    if exchange.size == 1:
        return
    on_host = account.on_one_memory if device.type == "cpu" else account
    needs = on_host.host_bytes - given_back_bytes(weights, torch.device("cpu"))
    own = json.dumps([machine(), max(0, needs), free_host_bytes()]).encode()
    found = exchange.gather(own, limit_s=exchange.patience.once_s)
    check_machines([tuple(json.loads(one)) for one in found])


def check_machines(ranks: Sequence[tuple[str, int, int]]) -> None:
    """Of every rank its machine, the bytes that it is to take, and what it sees free."""
    for name in dict.fromkeys(where for where, _, _ in ranks):
        needs = [needed for where, needed, _ in ranks if where == name]
        free = min(free for where, _, free in ranks if where == name)
        if sum(needs) > free:
            raise DoesNotFit(
                f"{len(needs)} ranks on {name.partition(' ')[0]} need "
                f"{' + '.join(map(show_bytes, needs))} = {show_bytes(sum(needs))} of its memory "
                f"beside what they have, because each keeps a copy of the model, and "
                f"{show_bytes(free)} are free: {show_bytes(sum(needs) - free)} are missing; start "
                f"fewer ranks there, or one that computes as much: lanes of one process share a "
                f"copy"
            )


def deal_cores(exchange: Exchange) -> None:
    """Give each rank of a machine its own run of the cores that they all may use, from now on.

    Threads that are started later inherit it. Cores that a launcher has dealt stay as they are;
    where there are fewer cores than ranks, all use all.
    """
    if exchange.size == 1 or sys.platform != "linux":
        return
    own = (machine(), sorted(os.sched_getaffinity(0)))
    data = json.dumps(own).encode()
    found = exchange.gather(data, limit_s=exchange.patience.once_s)
    beside = [rank for rank, other in enumerate(found) if other == data]
    each = len(own[1]) // len(beside)
    if each and len(beside) > 1:
        first = beside.index(exchange.rank) * each
        os.sched_setaffinity(0, own[1][first : first + each])


def machine() -> str:
    """The same for all processes of one machine, and of no other: its name, and its start."""
    try:
        return f"{node()} {_BOOT.read_text().strip()}"
    except OSError:
        return node()
