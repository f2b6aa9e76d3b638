"""The folder that a search leaves: its front, the best plan's timeline and trace, a report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from analysis.plots.front import front
from analysis.plots.timeline import timeline
from analysis.report.commands.search import search_document
from analysis.report.document import TRACE
from experiments.answer.trust import Trust
from experiments.case.axes import show_values
from experiments.folder.provenance import provenance
from experiments.folder.traces import TraceFormat, trace_text
from experiments.folder.write import Number, Run, number_records, settings
from zo2sim.predict.predict import predict
from zo2sim.search.search import Search
from zo2sim.search.space import Axes


class Asked(Protocol):
    """What the command was asked."""

    @property
    def machine(self) -> str: ...

    @property
    def trace_format(self) -> TraceFormat: ...


def tuned(
    config: Asked,
    summary: Mapping[str, Any],
    found: Search,
    *,
    plans: Sequence[str],
    axes: Axes,
    trust: Trust,
) -> Run:
    """What goes into the folder. ``plans`` are the front's, as flags; ``axes`` what was free."""
    source, asked = provenance(seed=0, machines=[config.machine]), settings(config)
    best = predict(found.best.case)
    name = f"{best.case.model.name} on {best.case.machine.name}"
    trace = trace_text(
        best.trace,
        config.trace_format,
        name=name,
        metadata=source,
        copied_bytes=best.copied_bytes,
    )
    return Run(
        verb="tune",
        config=asked,
        summary=summary,
        provenance=source,
        records=number_records(asked, _numbers(found, plans), source="predicted"),
        figures={
            "front": front(found.pareto, found.best),
            "timeline": timeline(best.trace, best.trace.steady),
        },
        traces={TRACE: trace},
        document=search_document(
            found,
            plans=plans,
            axes={axis: show_values(values) for axis, values in axes.items()},
            grounds=trust.grounds,
            provenance=source,
        ),
    )


def _numbers(found: Search, plans: Sequence[str]) -> Iterator[Number]:
    """The front's points, and the proven bound."""
    for point, plan in zip(found.pareto, plans, strict=True):
        of = {"plan": plan, "simulated": point.simulated}
        yield of, "step_s", point.step_s, "s"
        yield of, "tokens_per_s", point.tokens_per_s, "1/s"
        yield of, "device_bytes", float(point.device_bytes), "B"
        yield of, "host_bytes", float(point.host_bytes), "B"
        yield of, "nvme_bytes", float(point.nvme_bytes), "B"
    yield {}, "lower_bound_s", found.lower_bound_s, "s"
