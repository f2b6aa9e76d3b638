"""The sweep's report: every number in its words is computed from the tables it is given."""

from collections.abc import Mapping
from types import MappingProxyType

from analysis.plots.style import model_title
from analysis.plots.sweep.one_to_eight import answers_cards
from analysis.plots.sweep.share import answers_budget
from analysis.report.document import Document
from analysis.report.sweep.budget import budget_sections, budget_sentences
from analysis.report.sweep.card import card_section, card_sentence
from analysis.report.sweep.findings import largest_model, memory_errors, ratios_to_mezo
from analysis.report.sweep.framing import asked, kernel_section, limits_section, method_section
from analysis.report.sweep.grid import grid_section
from analysis.report.sweep.host_memory import host_section, host_sentence
from analysis.report.sweep.one_to_eight import TITLE as CARDS_TITLE
from analysis.report.sweep.one_to_eight import cards_section, cards_sentence
from analysis.report.sweep.results import memory_section, throughput_section, timeline_section
from analysis.report.sweep.sensitivity import (
    ablation_section,
    both_ways_section,
    break_even_section,
)
from analysis.report.sweep.trust import sweep_trust
from analysis.report.wording import SPACE, between, counted, few, gib, number, percent
from analysis.table import Table, floats, unique, where
from zo2sim.simulate.trace import Trace

TITLE = "Predicting the cost of streamed zeroth-order fine-tuning"
BUDGET_TITLE = "OPT-175B on 18 GB: where it fits, what it takes, when offloading is free"


def sweep_document(
    table: Table,
    published: Table,
    *,
    trace: Trace | None = None,
    summary: Mapping[str, str],
    provenance: Mapping[str, str],
    beside: Mapping[str, Table] = MappingProxyType({}),
) -> Document:
    """The report on the sweep's wide table; a question that it lacks has no section.

    ``published`` has columns claim, model, gib; ``beside`` may have the tables ``kernels`` and
    ``needed``, as `kernel_section` and `break_even_section` take them. Figures come from
    `analysis.plots.sweep.figures.sweep_figures`, under the same keys.
    """
    needed = beside.get("needed")
    sections = [
        method_section(table, summary),
        *budget_sections(table),
        cards_section(table),
        host_section(table),
        card_section(table),
        memory_section(table, published),
        throughput_section(table),
        timeline_section(table, trace),
        ablation_section(table),
        break_even_section(table, needed),
        both_ways_section(table),
        grid_section(table),
        sweep_trust(table),
        kernel_section(beside.get("kernels")),
        limits_section(),
    ]
    return Document(
        title=_title(table),
        abstract=(_abstract(table, published, summary, needed),),
        sections=tuple(section for section in sections if section is not None),
        provenance=tuple((name, value) for name, value in provenance.items()),
    )


def _title(table: Table) -> str:
    if answers_budget(table):
        return BUDGET_TITLE
    return CARDS_TITLE if answers_cards(table) else TITLE


def _abstract(
    table: Table, published: Table, summary: Mapping[str, str], needed: Table | None
) -> str:
    machines = few(unique(table, "machine"), "machine")
    opening = (
        "Zeroth-order fine-tuning can stream a model through a device that is far too small for "
        f"it. We predict what that costs in {asked(table, summary)} on {machines}, "
        "from a schedule that is generated once, checked and simulated."
    )
    found = (
        *(_memory(table), _errors(table, published), _throughput(table), _tokens(needed)),
        *budget_sentences(table),
        cards_sentence(table),
        host_sentence(table),
        card_sentence(table),
    )
    return " ".join((opening, *(sentence for sentence in found if sentence)))


def _memory(table: Table) -> str:
    largest = largest_model(table)
    if largest is None or "zo2" not in largest.device_bytes:
        return ""
    mezo = largest.device_bytes.get("MeZO", float("nan"))
    against = f", where MeZO would need {gib(mezo)}" if mezo == mezo else ""
    own = gib(largest.device_bytes["zo2"])
    return f"For {model_title(largest.model)}, ZO2 needs {own} of device memory{against}."


def _errors(table: Table, published: Table) -> str:
    errors = memory_errors(table, published)
    if errors is None:
        return ""
    return (
        f"Predicted memory differs from {counted(errors.count, 'published figure')} by "
        f"{percent(errors.median)} in the median and {percent(errors.worst)} at most."
    )


def _throughput(table: Table) -> str:
    own, reference = (ratios_to_mezo(table, label) for label in ("zo2", "zo2_reference"))
    if not len(own):
        return ""
    code = f"; the published code reaches {between(reference)}" if len(reference) else ""
    return f"ZO2 reaches {between(own)} times MeZO's predicted throughput{code}."


def _tokens(needed: Table | None) -> str:
    if needed is None:
        return ""
    row = where(where(needed, "link", "PCIe 4"), "share", 0.9)
    tokens, rate = float(floats(row, "tokens")[0]), float(floats(row, "bytes_per_s")[0])
    if tokens != tokens:
        return ""
    return (
        f"At {number(rate / 1e9)}{SPACE}GB/s it reaches 90{SPACE}% of what the resident model "
        f"would from {number(tokens)} tokens per step on."
    )
