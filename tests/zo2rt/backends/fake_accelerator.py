"""A recorded fake of PyTorch's device-generic interface: everything runs at once, on the CPU.

`install` puts it in PyTorch's place while a test runs. Every call is logged in one total order,
with the thread that made it, and so are the gates that threads open and pass, and that a thread was
seen idle: the order that all this promises can be derived afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident, local
from time import perf_counter
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from zo2rt.backends import cuda
from zo2rt.backends.threads import Gate, StreamThread

DEVICE = torch.device("cuda", 0)
HOST = torch.device("cpu")
Replaced = tuple[Any, dict[str, Any]]
"""Something of PyTorch's or ours, and what takes the place of its names."""


class Call(NamedTuple):
    """One logged call; ``stream`` and ``event`` are the fakes' numbers."""

    name: str
    thread: int
    stream: int | None = None
    event: int | None = None
    detail: Any = None


class FakeStream:
    def __init__(self, fake: "FakeAccelerator", device: torch.device) -> None:
        assert device in fake.devices
        self.fake, self.number, self.before = fake, fake.next_number(), list[Any]()
        self.device = device

    def __enter__(self) -> "FakeStream":
        """PyTorch makes the stream its device's current one, and that the current device."""
        self.before.append((self.fake.index, self.fake.currents.get(self.device.index)))
        self.fake.current = self
        return self

    def __exit__(self, *error: object) -> None:
        self.fake.index, self.fake.currents[self.device.index] = self.before.pop()

    def wait_event(self, event: "FakeEvent") -> None:
        assert event.time_ms is not None, "waits for an event that nobody recorded"
        self.fake.add("wait_event", self.number, event.number)


class FakeEvent:
    def __init__(self, fake: "FakeAccelerator", enable_timing: bool) -> None:
        self.fake, self.number, self.enable_timing = fake, fake.next_number(), enable_timing
        self.time_ms: float | None = None

    def record(self, stream: FakeStream) -> None:
        if self.fake.record_error is not None:
            raise self.fake.record_error
        self.time_ms = (perf_counter() + self.fake.slept_s) * 1e3
        self.fake.add("record", stream.number, self.number)

    def query(self) -> bool:
        self.fake.add("query", None, self.number)
        return not self.fake.is_behind

    def synchronize(self) -> None:
        assert self.time_ms is not None, "waits for an event that nobody recorded"
        if self.fake.device_error is not None:
            raise self.fake.device_error
        self.fake.add("event.synchronize", None, self.number)

    def elapsed_time(self, end: "FakeEvent") -> float:
        assert self.enable_timing
        assert end.enable_timing
        assert self.time_ms is not None
        assert end.time_ms is not None
        return float(np.float32(end.time_ms - self.time_ms))


class FakeRuntime:
    """The two functions of CUDA's own runtime that lock pages."""

    def __init__(self, fake: "FakeAccelerator") -> None:
        self.fake = fake

    def cudaHostRegister(self, address: int, nbytes: int, flags: int) -> int:
        assert address % 4096 == 0
        assert flags == 1
        if self.fake.register_error:
            return self.fake.register_error
        self.fake.locked[address] = nbytes
        self.fake.add("cudaHostRegister", detail=nbytes)
        return 0

    def cudaHostUnregister(self, address: int) -> int:
        self.fake.add("cudaHostUnregister", detail=self.fake.locked.pop(address))
        return 0


class FakeAccelerator:
    """The log, and the switches that make the fake fail."""

    def __init__(self, device: torch.device | None = DEVICE, *, devices: int = 1) -> None:
        self.device = device
        kind = None if device is None else device.type
        self.devices = [torch.device(kind, n) for n in range(devices) if kind is not None]
        self.log: list[Call] = []
        self.locked: dict[int, int] = {}
        self.on_device: dict[int, int] = {}
        self.place: dict[int, torch.device] = {}
        """Of what is on a device, by its address."""
        self.rooms: list[torch.Tensor] = []
        """All that was given, so that no address is given twice."""
        self.device_error: RuntimeError | None = None
        self.record_error: RuntimeError | None = None
        self.register_error = 0
        self.is_behind = False  # the device has not come to what it was asked about
        self.free_bytes = 1 << 40  # of the device, and what PyTorch's allocator keeps beside
        self.kept_bytes = 0
        self.slept_s = 0.0  # that the device's clock is ahead, as after a long run
        self._number = 0
        self._gates: dict[Gate, int] = {}
        self._lock = Lock()
        self._local = local()

    @property
    def currents(self) -> dict[int, FakeStream | None]:
        """The calling thread's current stream of every device; None: the device's own."""
        return self._local.__dict__.setdefault("streams", {})

    @property
    def index(self) -> int:
        """The calling thread's current device."""
        return getattr(self._local, "index", 0)

    @index.setter
    def index(self, index: int) -> None:
        self._local.index = index

    @property
    def current(self) -> FakeStream | None:
        """The stream of the calling thread, on its current device."""
        return self.currents.get(self.index)

    @current.setter
    def current(self, stream: FakeStream | None) -> None:
        if stream is not None:
            self.index = stream.device.index
        self.currents[self.index] = stream

    def next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def add(
        self, name: str, stream: int | None = None, event: int | None = None, detail: Any = None
    ) -> None:
        with self._lock:
            self.log.append(Call(name, get_ident(), stream, event, detail))

    def mark(self, detail: Any) -> None:
        """Log that work reached this point, on the calling thread's stream if it has one."""
        self.add("work", self._stream_number(), None, detail)

    def mark_start(self, detail: Any) -> None:
        """Log that work of the host starts, which `mark` is to end."""
        self.add("start", self._stream_number(), None, detail)

    def _stream_number(self) -> int | None:
        return None if self.current is None else self.current.number

    def calls(self, name: str) -> list[Call]:
        return [call for call in self.log if call.name == name]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeAccelerator":
        """Replace what the backend uses of PyTorch until the test ends."""
        replaced = (*self._tensors(), *self._logged_gates(), *self._runtime())
        for owner, names in (*replaced, (cuda, {"device_of": self.device_of})):
            for name, value in names.items():
                monkeypatch.setattr(owner, name, value)
        return self

    def _tensors(self) -> Iterator[Replaced]:
        """Buffers are made on the device, which is the host's memory, and copies are logged."""
        empty, copy_, to = torch.empty, torch.Tensor.copy_, torch.Tensor.to

        def fake_empty(
            *size: Any, device: Any = "cpu", pin_memory: bool = False, **how: Any
        ) -> torch.Tensor:
            where = HOST if device is None else torch.device(device)
            if not pin_memory and where not in self.devices:
                return empty(*size, device=device, **how)
            (nbytes,) = size
            room = empty(nbytes + 255, **how)
            room = room.narrow(0, -room.data_ptr() % 256, nbytes)
            self.on_device[room.data_ptr()] = nbytes
            self.place[room.data_ptr()] = where
            self.rooms.append(room)
            self.add("empty", detail=nbytes)
            return room

        def fake_to(tensor: torch.Tensor, *target: Any, **how: Any) -> torch.Tensor:
            if target and target[0] in self.devices:  # everything is there already
                return tensor
            return to(tensor, *target, **how)

        def fake_copy(
            to: torch.Tensor, of: torch.Tensor, non_blocking: bool = False
        ) -> torch.Tensor:
            with self._between(self.device_of(of), self.device_of(to)):
                self.add("copy_", self._stream_number(), None, non_blocking)
            return copy_(to, of)

        yield torch, {"empty": fake_empty}
        pinned: dict[str, Any] = {"is_pinned": lambda tensor: self.is_pinned(tensor)}
        yield torch.Tensor, {"copy_": fake_copy, "to": fake_to, **pinned}

    @contextmanager
    def _between(self, source: torch.device, target: torch.device) -> Iterator[None]:
        """What PyTorch does around a copy between two devices, which it runs where the source is:
        both current streams wait for each other, before and after."""
        if HOST in (source, target) or source == target:
            yield
            return
        sender, receiver = (self.currents.get(d.index) for d in (source, target))
        assert sender is not None, "a copy on a device's own stream"
        assert receiver is not None
        ready, done = FakeEvent(self, False), FakeEvent(self, False)
        ready.record(receiver)
        sender.wait_event(ready)
        with sender:
            yield
        done.record(sender)
        receiver.wait_event(done)

    def device_of(self, tensor: torch.Tensor) -> torch.device:
        """Of a tensor in memory that the fake gave; what is `sent` is the sender's, all else the
        host's."""
        address = tensor.data_ptr()
        for start, nbytes in self.on_device.items():
            if start <= address < start + nbytes:
                return self.place[start]
        locked = any(start <= address < start + n for start, n in self.locked.items())
        sender: torch.device | None = getattr(self._local, "sender", None)
        return HOST if locked or sender is None else sender

    @contextmanager
    def sent(self, sender: int) -> Iterator[None]:
        """What lanes computed lies on that device inside: the fake does not know, they are run on
        the CPU."""
        self._local.sender = self.devices[sender]
        try:
            yield
        finally:
            self._local.sender = None

    def _logged_gates(self) -> Iterator[Replaced]:
        """Opening and passing a gate is logged, and that a thread is idle if it is seen to be."""
        opened, passed = Gate.open, Gate.wait

        def open_gate(gate: Gate) -> None:
            self.add("open", None, self._gate_number(gate))
            opened(gate)

        def pass_gate(gate: Gate) -> None:
            passed(gate)
            self.add("pass", None, self._gate_number(gate))

        yield Gate, {"open": open_gate, "wait": pass_gate}

        seen_idle = StreamThread.idle.fget
        assert seen_idle is not None

        def idle(thread: StreamThread) -> bool:
            found = seen_idle(thread)
            if found:
                self.add("idle", detail=thread.ident)
            return found

        yield StreamThread, {"idle": property(idle)}

    def _runtime(self) -> Iterator[Replaced]:
        """Streams, events, and what PyTorch says of the device."""
        yield (
            torch,
            {
                "Stream": lambda device: FakeStream(self, device),
                "Event": lambda enable_timing=False: FakeEvent(self, enable_timing),
            },
        )
        yield (
            torch.cuda,
            {
                "cudart": lambda: FakeRuntime(self),
                "get_device_name": lambda device: "fake",
                "get_device_properties": lambda device: SimpleNamespace(
                    pci_domain_id=0xFFFF, pci_bus_id=device.index, pci_device_id=0
                ),
                "is_initialized": lambda: True,
            },
        )
        yield (
            torch.accelerator,
            {
                "current_accelerator": lambda: self.device,
                "is_available": lambda: self.device is not None,
                "current_device_index": lambda: self.index,
                "device_count": lambda: len(self.devices),
                "set_device_index": self.set_device_index,
                "current_stream": lambda: self.current,
                "set_stream": lambda stream: setattr(self, "current", stream),
                "synchronize": self.synchronize,
                "max_memory_allocated": self.allocated_bytes,
                "memory_allocated": self.allocated_bytes,
                "memory_reserved": lambda device: self.allocated_bytes(device) + self.kept_bytes,
                "get_memory_info": self.memory_info,
            },
        )

    def memory_info(self, device: torch.device) -> tuple[int, int]:
        """Free and total bytes."""
        if self.device_error is not None:
            raise self.device_error
        return self.free_bytes, self.free_bytes + self.allocated_bytes(device)

    def allocated_bytes(self, device: torch.device) -> int:
        return sum(n for start, n in self.on_device.items() if self.place[start] == device)

    def set_device_index(self, index: int) -> None:
        self.index = index
        self.add("set_device_index", detail=index)

    def _gate_number(self, gate: Gate) -> int:
        """Gates are kept, or another one would get the place of one that is gone."""
        if gate not in self._gates:
            self._gates[gate] = self.next_number()
        return self._gates[gate]

    def synchronize(self, device: torch.device) -> None:
        if self.device_error is not None:
            raise self.device_error
        self.add("synchronize", detail=device.index)

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        """Memory of the fake device passes as well: the backend must not ask about that."""
        address = tensor.data_ptr()
        places = (*self.locked.items(), *self.on_device.items())
        return any(start <= address < start + nbytes for start, nbytes in places)
