"""CUDA's compute capability and the class of a machine file."""

from zo2sim.machines.machine import Architecture

_FIRST_OF_CLASS: dict[Architecture, tuple[int, int]] = {
    "blackwell": (10, 0),
    "hopper": (9, 0),
    "ada": (8, 9),
    "ampere": (8, 0),
    "turing": (7, 5),
}
"""Lowest compute capability by class of the machine file, newest first; volta is what is older."""


def architecture_of(capability: tuple[int, int]) -> Architecture:
    """Class of the machine file; a newer card counts as the newest class that is known."""
    for architecture, first in _FIRST_OF_CLASS.items():
        if capability >= first:
            return architecture
    return "volta"
