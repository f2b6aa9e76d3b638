"""Ranks over sockets, with PyTorch's Gloo: on CPUs, and beside GPUs, which it does not touch.

[Note: frames] Gloo gathers pieces of one length. So every gather is one of frames, which hold the
length of what a rank gave and its beginning, and only where something is longer a second one. Ranks
that make different calls read each other's frames all the same, and are told apart by what is in
them.

[Note: who is gone] Where a rank ends, its neighbours' sockets break at once; the others would wait.
So whoever sees an error says so in the store, where all that wait look twice a second. Everybody
then signs; who has not signed in time is gone.

[Note: leaving] A rank that has what it was waiting for, and closes its sockets, may break a call
that another one is still in, although all bytes have come. So who leaves without an error waits a
while for the others to leave, too.

[Note: no way back] Gloo waits for what it has begun before it lets a group go, and a rank that
hangs may let it wait for as long as it likes. So a group with an exchange that failed is never let
go: it ends with the process.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import py_object, pythonapi
from datetime import timedelta
from itertools import count
from pathlib import Path
from struct import pack, unpack_from
from time import perf_counter, sleep
from typing import Any, final

import torch
from torch.distributed import (
    FileStore,  # pyright: ignore[reportPrivateImportUsage]
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    ProcessGroupGloo,
    Store,  # pyright: ignore[reportPrivateImportUsage]
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)

from zo2rt.exchange.alone import Alone
from zo2rt.exchange.exchange import Exchange, Patience, RankGone

_FRAME = 512
_LENGTH = "<I"
_OWN = _FRAME - 4
_LOOK_S = 0.5
"""Between two looks at what others say: see [Note: who is gone]."""
_SIGN_S = 2.0
"""In which all that are alive have looked, and signed."""
_TROUBLE = "trouble"
_opened = count()


@final
class Gloo(Exchange):
    """Rank ``rank`` of ``size`` that meet in ``store``, which no other group uses.

    Blocks until all are there, at most ``patience.once_s``.
    """

    def __init__(
        self, store: Store, rank: int, size: int, patience: Patience | None = None
    ) -> None:
        super().__init__(rank, size, Patience() if patience is None else patience)
        self._store = store
        once = timedelta(seconds=self.patience.once_s)
        store.set_timeout(once)
        try:
            self._group: Any = ProcessGroupGloo(store, rank, size, once)
        except RuntimeError as error:
            self._group = None
            what = f"not all came within {once}: {_short(error)}"
            raise RankGone(self._missing(), what) from error
        store.set_timeout(timedelta(seconds=_SIGN_S))

    def gather(self, data: bytes, *, limit_s: float) -> tuple[bytes, ...]:
        """See [Note: frames]."""
        frame = pack(_LENGTH, len(data)) + data[:_OWN]
        frames = self._gathered(frame.ljust(_FRAME, b"\0"), limit_s)
        lengths = [int(unpack_from(_LENGTH, one)[0]) for one in frames]
        longest = max(lengths) - _OWN
        rests = [b""] * self.size
        if longest > 0:
            rests = self._gathered(data[_OWN:].ljust(longest, b"\0"), limit_s)
        whole = (frame[4:] + rest for frame, rest in zip(frames, rests, strict=True))
        return tuple(one[:length] for one, length in zip(whole, lengths, strict=True))

    def __exit__(self, *error: object) -> None:
        if self._group is not None and error[0] is None:
            self._leave()
        self.close()

    def close(self) -> None:
        self._group = None

    def _leave(self) -> None:
        """See [Note: leaving]."""
        end_s = perf_counter() + _SIGN_S
        everybody = [f"left {rank}" for rank in range(self.size)]
        with suppress(RuntimeError):  # a store that is gone was kept by one who has left
            self._store.set(everybody[self.rank], "")
            while perf_counter() < end_s and not self._store.check(everybody):
                sleep(0.01)

    def _gathered(self, piece: bytes, limit_s: float) -> list[bytes]:
        if self._group is None:
            raise RuntimeError("the exchange is closed; start the ranks again")
        mine = torch.frombuffer(bytearray(piece), dtype=torch.uint8)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        try:
            self._await(self._group.allgather([found], [mine]), limit_s)
        except RuntimeError as error:
            raise RankGone(self._missing(), _short(error)) from error
        return [one.numpy().tobytes() for one in found]

    def _await(self, work: Any, limit_s: float) -> None:
        """Raises ``RuntimeError`` where it failed, where time is up, or where others say so."""
        end_s = perf_counter() + limit_s
        while True:
            left_s = min(_LOOK_S, end_s - perf_counter())
            try:
                work.wait(timedelta(seconds=max(left_s, 1e-3)))
                return
            except RuntimeError:
                if work.is_completed():
                    work.wait()  # raises what ended it, unless it has just ended well
                    return
                if self._is_trouble():
                    raise RuntimeError("another rank saw it end") from None
                if perf_counter() >= end_s:
                    raise RuntimeError(f"no answer in {limit_s:.3g} s") from None

    def _is_trouble(self) -> bool:
        with suppress(RuntimeError):  # a store that is gone is found out by the sockets
            return bool(self._store.check([_TROUBLE]))
        return False

    def _missing(self) -> set[int]:
        """See [Note: who is gone]; rank 0 where the store is, which it may have kept."""
        pythonapi.Py_IncRef(py_object(self._group))  # see [Note: no way back]
        self.close()
        silent, reached = set(range(self.size)) - {self.rank}, False
        end_s = perf_counter() + _SIGN_S
        while silent and perf_counter() < end_s:
            with suppress(RuntimeError):
                self._store.set(f"signed {self.rank}", "")
                self._store.set(_TROUBLE, "")
                silent = {r for r in silent if not self._store.check([f"signed {r}"])}
                reached = True
            sleep(0.05)
        return silent if reached else {0}


def _short(error: RuntimeError) -> str:
    """Gloo's, without its place in the source, and without advice."""
    return re.sub(r"^\[[^]]*\] ", "", str(error).partition(". This is typically")[0])


def beside(path: Path, rank: int, size: int, patience: Patience | None = None) -> Gloo:
    """Rank ``rank`` of ``size`` on this machine, which meet in a file that no other group uses."""
    return Gloo(FileStore(str(path), size), rank, size, patience)


def launched() -> bool:
    """Whether torchrun, or who speaks as it does, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(patience: Patience | None = None) -> Iterator[Exchange]:
    """The ranks that torchrun started this process as one of; `Alone` where there are none.

    Inside, other libraries take this process for the only one: they would deal the examples, and
    average gradients. A rank's accelerator is the current one. Raises `RankGone` where some do
    not come.
    """
    if not launched():
        yield Alone()
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    name = f"zo2rt {restarts} {next(_opened)}"
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    store = PrefixStore(name, _store(rank))
    with _hidden(), Gloo(store, rank, size, patience) as exchange:
        yield exchange


@contextmanager
def _hidden() -> Iterator[None]:
    """What other libraries know torchrun by; back at the end."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _store(rank: int) -> Store:
    """torchrun keeps one for its workers; elsewhere rank 0 does."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=rank == 0 and not kept,
        wait_for_workers=False,
    )
