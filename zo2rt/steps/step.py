"""One step in the making: what it is done with, its lanes, and the record that they give.

[Note: a lane's error] What a lane raises is the user's: of the loss, or of the batch. It ends the
trip of every lane and stops no stream: all else of the step is done, with losses that are NaN, so
that no weight changes, and the engine raises the error when the step is over.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from zo2rt.journal import Draw, Rate, Record, must_skip
from zo2rt.journal.groups import DECAYED, UNDECAYED
from zo2rt.lanes.traversal import Traversal
from zo2rt.optimizer import MezoSgd


@dataclass(slots=True, kw_only=True)
class Step:
    """A trip of some lanes. Only a step that trains has ``keys``, and a ``cursor`` for the next."""

    optimizer: MezoSgd
    """Its learning rate is this step's."""
    traversal: Traversal
    keys: tuple[int, ...] = ()
    """Noise keys of its samples."""
    cursor: int = 0
    """Number of the first microbatch that the next step reads."""
    projected_gradients: tuple[float, ...] = ()
    """g of every sample, once there are losses; before the estimator's rule."""
    error: Exception | None = None
    """See [Note: a lane's error]."""

    def advance(self, lanes: Sequence[int], unit: int, device: int) -> None:
        """Run some lanes through a unit, unless a lane of the step has failed."""
        if self.error is None:
            try:
                for lane in lanes:
                    self.traversal.advance(lane, unit, device)
            except Exception as error:  # of any kind: the loss is any Python
                self.error = error

    def move(
        self, lanes: Sequence[int], unit: int, device: int, receive: Callable[[Tensor], Tensor]
    ) -> None:
        """Bring some lanes to the device of the unit that they stand before."""
        if self.error is None:
            for lane in lanes:
                self.traversal.move(lane, unit, device, receive)

    def losses(self, num_lanes: int) -> tuple[float, ...]:
        """The loss of every lane; NaN where one has failed, or has none."""
        if self.error is None:
            try:
                found = self.traversal.losses()
            except ValueError as error:  # a lane is unfinished
                self.error = error
            else:
                return tuple(float(loss) for loss in found)
        return (math.nan,) * num_lanes

    def record(self, number: int, losses: tuple[float, ...]) -> Record:
        """What the journal keeps of step ``number``, with the g that its update applies."""
        optimizer, pairs = self.optimizer, zip(self.keys, self.projected_gradients, strict=True)
        draws = tuple(Draw(key=key, g=optimizer.estimator.applied(g)) for key, g in pairs)
        rates = (
            Rate(group=DECAYED, lr=optimizer.lr, weight_decay=optimizer.weight_decay),
            Rate(group=UNDECAYED, lr=optimizer.lr, weight_decay=0.0),
        )
        return Record(
            step=number,
            losses=losses,
            draws=draws,
            rates=rates,
            eps=optimizer.eps,
            skipped=must_skip(losses, draws, rates),
            cursor=self.cursor,
        )
