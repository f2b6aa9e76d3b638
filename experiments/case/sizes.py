"""Amounts as the commands read and show them: `zo2sim.sizes`, and bytes in the unit that suits."""

from zo2sim.memory.account import show_bytes
from zo2sim.sizes import parse_bytes, show_number, show_seconds, show_times

__all__ = ["parse_bytes", "show_bytes", "show_number", "show_seconds", "show_times"]
