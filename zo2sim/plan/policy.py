"""Policies by name, and what is known of each without its schedule."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a policy's schedule does: said once, so that nobody else tells policies by name."""

    streams: bool = True
    """Blocks pass through slots; otherwise every one stays on the device."""
    overlaps: bool = True
    """Copies run while the stream that computes does."""
    defers: bool = True
    """An update waits for its block's next visit; otherwise updates have a trip of their own."""
    updates_on_host: bool = False
    """Streamed blocks are updated in host memory, and never come back."""
    published: bool = False
    """It stands for the published code of ZO2, not for this project's runtime."""


class Policy(StrEnum):
    """Who decides the order of the operations (DESIGN 4)."""

    traits: Traits

    RESIDENT = "resident", Traits(streams=False)
    NAIVE = "naive", Traits(overlaps=False, defers=False)
    DUAL = "dual", Traits(defers=False)
    ZO2 = "zo2", Traits()
    ZO2_REFERENCE = "zo2_reference", Traits(published=True)
    HOST_UPDATE = "host_update", Traits(updates_on_host=True)

    def __new__(cls, value: str, traits: Traits) -> "Policy":
        member = str.__new__(cls, value)
        member._value_ = value
        member.traits = traits
        return member
