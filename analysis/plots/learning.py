# pyright: reportUnknownMemberType=false
"""Whether a model learned: loss and held-out accuracy over the steps, offloaded and resident."""

from collections.abc import Iterator

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import BLACK, BLUE, COLUMN_IN, GREY, ORANGE, new_figure, series, styled
from analysis.table import Floats, Table, floats

_WINDOW_SHARE = 40  # a moving mean is this part of the run long


@styled
def learning(
    steps: Table,
    evaluations: Table,
    *,
    label: str,
    reference: tuple[str, Table] | None = None,
    chance: float | None = None,
) -> Figure:
    """Training loss and what was held out, over steps.

    ``steps`` has columns step and loss, ``evaluations`` step, held_out_loss and accuracy. With
    ``reference``, the label and evaluations of another policy, open rings show its values around
    ours; ``chance`` is the accuracy of guessing. A run without accuracies has the upper panel only.
    """
    judged = bool(np.isfinite(floats(evaluations, "accuracy")).any())
    figure = new_figure(COLUMN_IN, 3.4 if judged else 2.2)
    panels = figure.subplots(2 if judged else 1, 1, sharex=True, squeeze=False)[:, 0]
    _losses(panels[0], steps)
    _evaluated(panels[0], evaluations, "held_out_loss", label, reference)
    panels[0].set_ylabel("loss")
    panels[0].set_ylim(bottom=0.0, top=_top(steps, evaluations))
    if judged:
        _evaluated(panels[1], evaluations, "accuracy", label, reference)
        if chance is not None:
            panels[1].axhline(chance, color=GREY, lw=0.8, ls=":", label="chance")
        panels[1].set_ylabel("held-out accuracy")
        panels[1].set_ylim(0.0, 1.02)
    panels[-1].set_xlabel("step")
    named = {name: mark for axes in panels for name, mark in _named(axes)}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=2)
    return figure


def smoothed(values: Floats, window: int) -> Floats:
    """Mean over the ``window`` values up to each one; fewer at the beginning. NaNs do not count."""
    known = np.isfinite(values)
    sums = np.cumsum(np.where(known, values, 0.0))
    counts = np.cumsum(known.astype(np.float64))
    for totals in (sums, counts):
        totals[window:] -= totals[:-window].copy()
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _named(axes: Axes) -> Iterator[tuple[str, Artist]]:
    handles, labels = axes.get_legend_handles_labels()
    return zip(labels, handles, strict=True)


def _losses(axes: Axes, steps: Table) -> None:
    x, loss = floats(steps, "step"), floats(steps, "loss")
    window = max(1, len(x) // _WINDOW_SHARE)
    axes.plot(x, loss, color=GREY, lw=0.3, alpha=0.5)
    mean = f"training, mean of {window} steps" if window > 1 else "training"
    axes.plot(x, smoothed(loss, window), color=BLACK, lw=0.8, label=mean)
    axes.grid(visible=True, axis="y")


def _evaluated(
    axes: Axes,
    evaluations: Table,
    column: str,
    label: str,
    reference: tuple[str, Table] | None,
) -> None:
    x, y = floats(evaluations, "step"), floats(evaluations, column)
    axes.plot(x, y, color=BLUE, marker="o", ms=2.5, label=f"held out, {series(label).title}")
    if reference is not None:
        name, table = reference
        x, y = floats(table, "step"), floats(table, column)
        title = f"held out, {series(name).title}"
        axes.plot(x, y, ls="none", marker="o", ms=6, mfc="none", mec=ORANGE, label=title)
    axes.grid(visible=True, axis="y")


def _top(steps: Table, evaluations: Table) -> float:
    """Room for every held-out loss and all but the wildest training losses."""
    losses, judged = floats(steps, "loss"), floats(evaluations, "held_out_loss")
    known, held_out = losses[np.isfinite(losses)], judged[np.isfinite(judged)]
    highest = float(np.quantile(known, 0.99)) if known.size else 1.0
    return 1.1 * float(np.max(held_out, initial=highest))
