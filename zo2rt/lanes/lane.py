"""One lane: the loss function on a thread of its own, run from unit to unit on command.

[Note: hand-over] Of a lane and its caller exactly one runs. ``advance`` puts a token into the
lane's ``go`` queue and waits on its ``back`` queue; the lane runs to its next boundary, puts a
token into ``back`` and waits on ``go``. The hidden states of a lane live in the frames of its
thread, as when it runs alone.

[Note: carried] Where a lane hops between devices, what a block was called with lies open while the
lane stands before it, and ``move`` brings it to the block's device; so does the last block's
output, for the tail. The device runs behind: memory that is given up while it is still read could
be handed out again. So what was sent is kept until the lane is back on the device that it left,
whose work waits for the sending; and what arrived until the next arrives there, which waits for
what read it.
"""

import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from zo2rt.lanes.carried import moved
from zo2rt.lanes.surroundings import CurrentStream, Surroundings, own_default_dtype
from zo2rt.model.discovery import Blocks
from zo2rt.model.loss import scalar
from zo2sim.schedule.ops import HEAD, TAIL, unit_name

_JOIN_S = 60.0


class LaneClosed(BaseException):
    """Unwinds a lane whose traversal ends; no ``except Exception`` of a loss function stops it."""


class Lane:
    """Runs ``run()`` between the boundaries that the hooks of a traversal report to it.

    ``position`` is the unit that is running or ran last, ``next`` the one that it waits to run;
    ``next`` is None once it has ended, by its loss, an error, or being closed. ``running`` stays
    true where the caller's wait was interrupted. ``device`` is where it computes.
    """

    def __init__(
        self,
        number: int,
        blocks: Blocks,
        run: Callable[[], object],
        surroundings: Surroundings,
        device: int = 0,
    ) -> None:
        self.number = number
        self.device = device
        self.position = HEAD
        self.next: int | None = HEAD
        self.forwards = 0
        self.loss: Tensor | None = None
        self.running = False
        self._blocks = blocks
        self._run = run
        self._surroundings = surroundings
        self._context = copy_context()
        self._error: BaseException | None = None
        self._closing = False
        self._go: SimpleQueue[CurrentStream | None] = SimpleQueue()
        self._back: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._carried: Any = None
        self._sent: dict[int, Any] = {}
        self._arrived: dict[int, Any] = {}

    # The caller's side.

    def advance(self, unit: int, device: int = 0) -> None:
        """Run one unit; nothing happens once the lane has its loss. Raises what the lane raised."""
        if self.loss is not None:
            return
        self._check_turn(unit)
        if device != self.device:
            raise RuntimeError(
                f"lane {self.number} must be sent to device {device} before it runs the "
                f"{self.describe(unit)} there; it is on device {self.device}"
            )
        self._sent.pop(device, None)
        self.running = True
        with own_default_dtype():
            self._go.put(CurrentStream.current())
            if self._thread is None:
                self._start()
            self._back.get()
        self.running = False
        if self._error is not None:
            error, self._error = self._error, None  # its frames hold hidden states
            try:
                raise error
            finally:
                del error  # or this frame, which is one of its own, holds it

    def move(self, unit: int, device: int, receive: Callable[[Tensor], Tensor]) -> None:
        """Bring what ``unit`` is about to be called with to its device: see [Note: carried]."""
        if self.loss is not None:
            return
        self._check_turn(unit)
        self._sent[self.device] = self._carried
        self._carried = self._arrived[device] = moved(self._carried, receive)
        self.device = device

    def close(self) -> None:
        """End the thread, wherever it stands; returns when it is gone."""
        self._closing = True
        if self._thread is None:
            self.next = None
            return
        self._go.put(None)
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            raise RuntimeError(
                f"lane {self.number} must end within {_JOIN_S:.0f} s of being closed; it still "
                f"runs the {self.describe(self.position)}; does its loss function wait for others?"
            )

    @property
    def thread(self) -> threading.Thread | None:
        """Its own, once it runs."""
        return self._thread

    def _check_turn(self, unit: int) -> None:
        if self.next is None:
            raise RuntimeError(
                f"lane {self.number} has ended without a loss and cannot run the "
                f"{self.describe(unit)}; its error was raised before, or it was closed"
            )
        if unit != self.next:
            raise ValueError(
                f"lane {self.number} must run the {self.describe(self.next)} next; it was told to "
                f"run the {self.describe(unit)}"
            )

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._context.run, args=(self._main,), name=f"lane {self.number}", daemon=True
        )
        self._thread.start()

    # The lane's side, on its own thread.

    def enter_block(self, block: int, carried: Any = None) -> Any:
        """Called before a block runs: hand over, if it is this block's turn.

        Returns what it was called with, as it is when the block is to run.
        """
        if block != self._following():
            self.refuse(self.describe(block))
        if block == 0:
            self.forwards += 1
        return self._carry(block, carried)

    def leave_blocks(self, carried: Any) -> Any:
        """Called after the last block; returns its output, as it is when the tail is to run."""
        return self._carry(TAIL, carried)

    def _carry(self, upcoming: int, carried: Any) -> Any:
        self._carried = carried
        self.pause(upcoming)
        carried, self._carried = self._carried, None
        return carried

    def refuse(self, entered: str) -> None:
        """Raise the error that names what was expected; it stands even if it is caught."""
        following = self._following()
        expected = "the end of the forward" if following is None else self.describe(following)
        self._error = ValueError(
            f"lane {self.number}: {expected} was expected, but {entered} was entered; a loss "
            "function must run every block once and in order, through the module's call"
        )
        raise self._error

    def pause(self, upcoming: int) -> None:
        """Hand over at the boundary before ``upcoming``; returns when that unit is to run."""
        self.next = upcoming
        with own_default_dtype():
            self._back.put(None)
            self._wait()
        self.position = upcoming

    def describe(self, unit: int) -> str:
        """``block 3 (model.layers.3)``, ``head`` or ``tail``."""
        return self._blocks.title(unit) if unit >= 0 else unit_name(unit)

    def _following(self) -> int | None:
        """The block after the one that runs, or the tail; None after the tail."""
        if self.position == TAIL:
            return None
        following = 0 if self.position == HEAD else self.position + 1
        return following if following < len(self._blocks.modules) else TAIL

    def _wait(self) -> None:
        place = None if self._closing else self._go.get()
        if place is None:
            raise LaneClosed
        place.enter()

    def _main(self) -> None:
        try:
            self._wait()
            with self._surroundings.entered():
                loss = scalar(self._run())
            if self._error is None:
                self.loss = self._checked(loss)
        except LaneClosed:
            pass
        except BaseException as error:
            self._error = self._error or error
        finally:
            self.next = None
            self._back.put(None)

    def _checked(self, loss: Tensor) -> Tensor:
        if self.forwards == 0:
            raise ValueError(
                f"lane {self.number}: the loss function must run the model; it returned a loss "
                f"without entering {self._blocks.title(0)}"
            )
        return loss
