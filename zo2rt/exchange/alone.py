"""One process: there is nobody to wait for."""

from typing import final

from zo2rt.exchange.exchange import Exchange, Patience


@final
class Alone(Exchange):
    """Rank 0 of 1. A run of it makes no call that costs anything."""

    def __init__(self) -> None:
        super().__init__(0, 1, Patience())

    def gather(self, data: bytes, *, limit_s: float) -> tuple[bytes, ...]:
        return (data,)

    def close(self) -> None:
        """Nobody is left behind."""


ALONE = Alone()
