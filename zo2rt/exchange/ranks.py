"""One rank of a run: its lanes, and the losses of everybody's."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from statistics import median
from time import perf_counter

from torch import Tensor

from zo2rt.exchange.exchange import Exchange, RankGone, RanksDiffer
from zo2rt.exchange.message import DIGEST_BYTES, Message
from zo2rt.journal import Record
from zo2rt.journal import record as records
from zo2rt.journal.chain import Position, canonical, digest
from zo2rt.tensor_file import bytes_of
from zo2sim.plan.shares import share

STEP = "a step"
_KEPT_STEPS = 20  # whose median says how long one takes


class OtherRankError(RuntimeError):
    """A lane of another rank raised; its own process has the error itself."""


class Ranks:
    """What is asked of the others in a run that stands at ``start``.

    ``journalled``: whether the run can be gone on with. Of one process no call costs anything.
    Raises ``ValueError`` where there are more ranks than lanes.
    """

    def __init__(
        self, exchange: Exchange, *, num_lanes: int, start: Position, journalled: bool
    ) -> None:
        self.exchange = exchange
        self.lanes = share(num_lanes, exchange.rank, exchange.size)
        self._num_lanes = num_lanes
        self._chain, self._step = start.sha256, start.step
        self._journalled = journalled
        self._batch = bytes(DIGEST_BYTES)
        self._steps_s: deque[float] = deque(maxlen=_KEPT_STEPS)
        self._last_s: float | None = None
        self._left = False

    @property
    def alone(self) -> bool:
        return self.exchange.size == 1

    def own(self, lanes: Iterable[int]) -> list[int]:
        """Of some lanes those of this rank, counted among its own."""
        return [lane - self.lanes.start for lane in lanes if lane in self.lanes]

    def reads(self, batch: Mapping[str, Tensor]) -> None:
        """What the step that begins reads: the same on every rank, who each take their lanes."""
        if not self.alone:
            self._batch = _digest(batch)

    def losses(
        self, own: Sequence[float], error: Exception | None
    ) -> tuple[tuple[float, ...], Exception | None]:
        """The loss of every lane, in lane order; NaN for all of them where a lane has failed.

        The error is this rank's own, or says what another one's was. Raises `RanksDiffer` where
        ranks are not in the same step after the same records, or read different batches.
        """
        if self.alone:
            return tuple(own), error
        begun_s = perf_counter()
        text = "" if error is None else repr(error)
        found = self._gathered(STEP, losses=tuple(own), error=text, limit_s=self._limit_s)
        self._passed(begun_s)
        failed = [(rank, one.error) for rank, one in enumerate(found) if one.error]
        if not failed:
            return tuple(loss for one in found for loss in one.losses), None
        if error is None:
            rank, text = failed[0]
            error = OtherRankError(f"a lane of rank {rank} raised {text}")
        return (math.nan,) * self._num_lanes, error

    def recorded(self, record: Record) -> None:
        """A step has been made."""
        self._step = record.step + 1
        if not self.alone:
            self._chain = digest(self._chain, canonical(records.to_json(record)))

    def meet(self, call: str) -> None:
        """Return when every rank makes this call after the same records.

        Raises `RanksDiffer` where one does something else, or has made other records.
        """
        self._last_s = None
        if not (self.alone or self._left):
            self._gathered(call, limit_s=self.exchange.patience.once_s)

    def anyone_says(self, *, yes: bool) -> bool:
        """Whether one of the ranks says yes."""
        return any(self._answers(yes=yes, limit_s=self._limit_s))

    def first_says(self, *, yes: bool) -> bool:
        """What rank 0 says; the others' answers do not count."""
        return self._answers(yes=yes, limit_s=self.exchange.patience.once_s)[0]

    def _answers(self, *, yes: bool, limit_s: float) -> list[bool]:
        if self.alone:
            return [yes]
        found = self._gathered("a question", losses=(float(yes),), limit_s=limit_s)
        return [one.losses == (1.0,) for one in found]

    @contextmanager
    def together(self, call: str) -> Iterator[bool]:
        """`meet` before and after; inside, whether this rank is the one that writes."""
        self.meet(call)
        yield self.exchange.rank == 0
        self.meet(f"the end of {call}")

    def leave(self) -> None:
        """This rank ends by an error: it meets nobody any more, and the others see it at once."""
        self._left = True
        self.exchange.close()

    @property
    def _limit_s(self) -> float:
        known = median(self._steps_s) if self._steps_s else None
        return self.exchange.patience.for_a_step(known)

    def _passed(self, begun_s: float) -> None:
        """How long a step takes without waiting for the others."""
        if self._last_s is not None:
            self._steps_s.append(begun_s - self._last_s)
        self._last_s = perf_counter()

    def _gathered(
        self, call: str, *, losses: tuple[float, ...] = (), error: str = "", limit_s: float
    ) -> list[Message]:
        mine = Message(
            call=call,
            step=self._step,
            chain=bytes.fromhex(self._chain)[:DIGEST_BYTES],
            batch=self._batch if call == STEP else bytes(DIGEST_BYTES),
            losses=losses,
            error=error,
        )
        try:
            parts = self.exchange.gather(mine.to_bytes(), limit_s=limit_s)
        except RankGone as gone:
            raise RankGone(gone.gone, gone.what, self._advice(gone)) from None
        found = [Message.from_bytes(part) for part in parts]
        self._check(found)
        return found

    def _advice(self, gone: RankGone) -> str:
        if not self._journalled:
            return f"the run has no folder, and its {self._step} steps end with it; start it again"
        step = str(self._step)
        if 0 in gone.gone and self._step:
            step = f"{step}, or from the one before if its record was not written"
        return f"start again with any number of ranks to go on from step {step}"

    def _check(self, found: Sequence[Message]) -> None:
        """In this order: ranks that are elsewhere have other records, too."""

        def told(what: str, of: Callable[[Message], object], advice: str) -> None:
            others = [rank for rank, one in enumerate(found) if of(one) != of(found[0])]
            if others:
                there = ", ".join(f"rank {rank}: {of(found[rank])}" for rank in (0, *others))
                raise RanksDiffer(f"{what}; {there}; {advice}")

        told(
            "all ranks must make the same calls in the same order",
            lambda one: f"{one.call}, after {one.step} steps",
            "make steps, evaluate, snapshot, save and close on every rank",
        )
        since = self._step - 1
        told(
            f"all ranks must have the records of rank 0, and since step {since} they have not"
            if since >= 0
            else "all ranks must begin as rank 0 does",
            lambda one: f"digest {one.chain.hex()}",
            "give every rank the same seed, learning rate and model; start again to go on from "
            "what is journalled",
        )
        told(
            f"step {self._step}: all ranks must be given the same batch, of which each takes its "
            "lanes",
            lambda one: f"digest {one.batch.hex()}",
            "deal no examples to ranks (no DistributedSampler)",
        )


def _digest(batch: Mapping[str, Tensor]) -> bytes:
    """Of names, formats, shapes and bytes."""
    total = blake2b(digest_size=DIGEST_BYTES)
    for name in sorted(batch):
        tensor = batch[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(bytes_of(tensor))
    return total.digest()
