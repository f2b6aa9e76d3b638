"""What a rank tells the others at a call: where it is, and in a step the losses of its lanes."""

from array import array
from dataclasses import dataclass
from struct import calcsize, pack, unpack_from
from typing import Self

DIGEST_BYTES = 8
_HEAD = f"<QIHH{DIGEST_BYTES}s{DIGEST_BYTES}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """``chain`` covers all records before the step, ``batch`` what the step reads.

    ``error`` is what a lane raised, for people; the losses are none then.
    """

    call: str
    step: int
    chain: bytes
    batch: bytes = bytes(DIGEST_BYTES)
    losses: tuple[float, ...] = ()
    error: str = ""

    def to_bytes(self) -> bytes:
        """Losses keep their 64 bits."""
        call, error = self.call.encode(), self.error.encode()[:20_000]
        head = pack(
            _HEAD, self.step, len(error), len(call), len(self.losses), self.chain, self.batch
        )
        return head + call + error + array("d", self.losses).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        step, errors, calls, losses, chain, batch = unpack_from(_HEAD, data)
        texts = calcsize(_HEAD)
        call, error = texts + calls, texts + calls + errors
        return cls(
            call=data[texts:call].decode(),
            step=step,
            chain=chain,
            batch=batch,
            losses=tuple(array("d", data[error : error + 8 * losses])),
            error=data[call:error].decode(errors="replace"),
        )
