"""One step in the making: what it is done with, its lanes, and the record that they give."""

from dataclasses import dataclass

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
