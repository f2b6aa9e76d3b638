"""How much memory may still be taken, and the refusal of what needs more (DESIGN 9)."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

from zo2rt.backends import Backend
from zo2rt.backends.buffers import give_back_freed
from zo2rt.memory import cgroup
from zo2rt.memory.mapped import given_back_bytes
from zo2sim.memory.account import DoesNotFit, MemoryAccount, MemoryPlace, require


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that may be taken of host and device; None: nobody knows a bound."""

    host_bytes: float | None = None
    device_bytes: float | None = None

    def check(
        self, account: MemoryAccount, device: torch.device, each: Sequence[MemoryAccount] = ()
    ) -> None:
        """Raise `DoesNotFit` where the account needs more.

        Of several devices ``each`` has an account of its own, and as much room as any other. What a
        device needs that computes in the host's memory counts on the host too.
        """
        if self.device_bytes is not None:
            for one in each or (account,):
                require(one, {MemoryPlace.DEVICE: self.device_bytes})
        if self.host_bytes is not None:
            on_host = account.on_one_memory if device.type == "cpu" else account
            require(on_host, {MemoryPlace.HOST: self.host_bytes})


UNLIMITED = Room()


def check_room(
    account: MemoryAccount,
    backend: Backend,
    *,
    limit: Room = UNLIMITED,
    weights: Sequence[Tensor] = (),
    each: Sequence[MemoryAccount] = (),
) -> None:
    """Raise `DoesNotFit` where a run needs more than ``limit``, or than can become free.

    That is what is free now, and what ``weights`` give back when they move to the buffers of the
    account, or of ``each`` device's where there are several. Swap does not count: every step walks
    through every weight.
    """
    device, devices = backend.device, each or (account,)
    limit.check(account, device, each)
    try:
        _check_free(account, backend, devices)
    except DoesNotFit:
        gc.collect()
        give_back_freed()
        _check_free(account, backend, devices, weights)


def _check_free(
    account: MemoryAccount,
    backend: Backend,
    devices: Sequence[MemoryAccount],
    weights: Sequence[Tensor] = (),
) -> None:
    for number, one in enumerate(devices):
        free_room(backend, weights, number).check(account, backend.device, (one,))


def free_room(backend: Backend, weights: Sequence[Tensor], number: int) -> Room:
    """What is free now of a device and of the host, and would be without these weights."""
    device, device_bytes = backend.devices[number], backend.free_device_bytes(number)
    host_bytes = free_host_bytes() + given_back_bytes(weights, torch.device("cpu"))
    if device_bytes is not None:
        device_bytes += given_back_bytes(weights, device)
    return Room(host_bytes=host_bytes, device_bytes=device_bytes)


def free_host_bytes() -> int:
    """Of the machine, and of the control groups that this process is in."""
    machine, group = int(psutil.virtual_memory().available), cgroup.free_bytes()
    return machine if group is None else min(machine, group)
