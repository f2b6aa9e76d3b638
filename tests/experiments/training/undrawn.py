"""Runs without their figures: to draw those takes longer than the steps of a tiny model."""

from collections.abc import Callable
from typing import Any

from experiments.training import output


def undraw(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on, or as long as ``put`` says, a run's figures are empty."""
    for plot in ("learning", "machine_use", "timeline"):
        put(output, plot, lambda *_, **__: "<svg/>")
