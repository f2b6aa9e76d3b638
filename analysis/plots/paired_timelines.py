# pyright: reportUnknownMemberType=false
"""One predicted and one measured step under each other, on one scale of time."""

from matplotlib.figure import Figure

from analysis.plots.style import FULL_IN, new_figure, styled
from analysis.plots.timeline import draw_panel, kinds_legend
from zo2sim.schedule.ops import Kind, Stream
from zo2sim.simulate.trace import Trace, Window


@styled
def paired_timelines(predicted: Trace, measured: Trace, *, step: int, title: str) -> Figure:
    """One step as predicted above, step ``step`` as measured below, from loss to loss.

    Blocks that are written back every k steps differ from step to step: the predicted step is the
    last steady one at the same place in the period. Both panels are as long as the longer step, so
    a bar that is too long is seen to be.
    """
    windows = loss_to_loss(predicted, same_place(predicted, step)), loss_to_loss(measured, step)
    length_s = max(window.length_s for window in windows)
    traces = predicted, measured
    tracks = [tuple(t for t in trace.tracks if t.stream is not Stream.HOST) for trace in traces]
    rows = sum(len(t) for t in tracks)
    figure = new_figure(FULL_IN, 1.3 + 0.3 * rows)
    panels = figure.subplots(2, 1, sharex=True)
    named = ("predicted", "measured")
    for axes, trace, window, shown, name in zip(
        panels, traces, windows, tracks, named, strict=True
    ):
        draw_panel(axes, trace, Window(window.start_s, window.start_s + length_s), shown, scale=1e3)
        axes.axvline(window.length_s * 1e3, color="black", lw=0.9)
        axes.set_title(f"{name}: {window.length_s * 1e3:.1f} ms", loc="left", pad=2, fontsize=7.5)
    place = _place(predicted, step)
    panels[1].set_xlabel(f"time since the loss of the step before (ms){place}", labelpad=1)
    figure.suptitle(title, fontsize=8.5)
    figure.legend(handles=kinds_legend(predicted, windows[0]), loc="outside lower center", ncols=7)
    return figure


def same_place(trace: Trace, step: int) -> int:
    """The last steady step of a trace at the place in the period that ``step`` has.

    Raises ``ValueError`` where the trace is too short to have a steady state.
    """
    end_s, k = trace.steady.end_s, trace.steps_per_period
    losses = (span for span in trace.spans if span.op.kind is Kind.LOSS and span.end_s <= end_s)
    return max(span.step for span in losses if span.step % k == step % k)


def _place(trace: Trace, step: int) -> str:
    """Which of a period's steps is shown, where there are several."""
    k = trace.steps_per_period
    return "" if k == 1 else f"; step {step % k + 1} of {k} of a period"


def loss_to_loss(trace: Trace, step: int) -> Window:
    """From the end of the loss of the step before to the end of this step's loss."""
    ends = {span.step: span.end_s for span in trace.spans if span.op.kind is Kind.LOSS}
    if step not in ends or step - 1 not in ends:
        raise ValueError(f"the trace must hold the losses of steps {step - 1} and {step}")
    return Window(ends[step - 1], ends[step])
