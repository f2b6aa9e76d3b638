"""Sections on OPT-175B within a budget of device memory: room, and what a step takes."""

from collections.abc import Iterator, Mapping

from analysis.plots.sweep.share import PCIE, answers_budget, plain_plan, shares
from analysis.report.document import Block, FigureBlock, Paragraph, Ref, Section, TableBlock
from analysis.report.sweep.offloading import free_words, offloading_section
from analysis.report.wording import (
    DASH,
    SPACE,
    between,
    counted,
    listed,
    number,
    seconds,
)
from analysis.table import Floats, Table, flags, floats, has, of_question, texts, unique, where

_GB = 1e9
MIB = 1 << 20

CHOICES: Mapping[str, Mapping[str, object]] = {
    "pageable instead of page-locked": {"pinning": "pageable"},
    "NVMe instead of RAM": {"tier": "nvme"},
    "NVMe, pageable staging": {"tier": "nvme", "pinning": "pageable"},
    "write-back every 4th step": {"write_back_every": 4},
    "NVMe, write-back every 4th step": {"tier": "nvme", "write_back_every": 4},
    "bf16 instead of fp16": {"label": "bf16"},
    "fp8 wire, fp16 master on the host": {"label": "fp8 wire, fp16 master"},
    "fp8 master": {"label": "fp8 master"},
    "4 microbatches": {"microbatches": 4},
    "16 microbatches": {"microbatches": 16},
}
"""One choice at a time, against the plainest plan."""
_PLAINEST: Mapping[str, object] = {
    **{"label": "fp16", "tier": "ram", "pinning": "exact", "write_back_every": 1},
    "microbatches": 1,
}


def budget_sections(table: Table) -> Iterator[Section]:
    """What question ``budget`` and its companions answer; none where they were not asked."""
    if answers_budget(table):
        yield _room(table)
        yield _step(table)
        yield offloading_section(table)


# Room on the device


def _room(table: Table) -> Section:
    rows = of_question(table, "budget")
    fitting = flags(rows, "fits_device")
    own = plain_plan(rows)
    words = (
        f"The budget is {_budget_words(rows)}, with the CUDA context and the allocator's slack "
        f"counted. {fitting.sum()} of {counted(len(rows), 'configuration')} stay within it."
        f"{_published_words(table)} ",
        Ref("room"),
        " shows what decides: the format and the number of microbatches, whose activations, losses "
        f"and tokens stand beside the weights. {_most_microbatches(own)} Where the weights wait, "
        "how they are pinned and how often they are written back does not change the device's "
        "share.",
    )
    blocks = (Paragraph(*words), _room_table(rows), *_items(table))
    return Section("Where 18 GB is enough", blocks)


def _items(table: Table) -> Iterator[Block]:
    if not has(table, "breakdown"):
        return
    yield Paragraph(Ref("breakdown"), " itemises some plans.")
    yield FigureBlock(
        key="breakdown",
        caption="Device memory of OPT-175B, item by item; one microbatch unless said otherwise. "
        "Dashed: the budget.",
    )


def _published_words(table: Table) -> str:
    """What the published code needs, in the budget's unit and in that of its papers."""
    if not has(table, "host_memory"):
        return ""
    own = where(of_question(table, "host_memory"), "label", "published code")
    needed = floats(own, "device_bytes")
    return "".join(
        f" The published code takes {number(n / _GB)}{SPACE}GB in this count, and "
        f"{number(n / (1000 * MIB))} in thousands of MiB, as its 18{SPACE}GB are published."
        for n in needed
    )


def _budget_words(rows: Table) -> str:
    rooms = floats(rows, "device.memory_bytes") / _GB
    most = rooms.max()
    small = [m for m in unique(rows, "machine") if _budget_of(rows, m) < most]
    less = f" ({listed(small)}: all of its {number(rooms.min())}{SPACE}GB)" if small else ""
    return f"{number(most)}{SPACE}GB{less}"


def _budget_of(rows: Table, machine: str) -> float:
    return float(floats(where(rows, "machine", machine), "device.memory_bytes").max() / _GB)


def _most_microbatches(own: Table) -> str:
    """For each budget: the most microbatches of fp16 that fit."""
    most: dict[str, float] = {}
    for machine in unique(own, "machine"):
        mine = where(where(own, "machine", machine), "fits_device", True)
        most[machine] = floats(mine, "microbatches").max() if len(mine) else 0.0
    usual = max(most.values())
    others = [f"{m:.0f} on {name}" for name, m in most.items() if m != usual]
    tail = f" ({listed(others)})" if others else ""
    return (
        f"Of the asked numbers, fp16 fits up to {usual:.0f} microbatches of one sequence of "
        f"{floats(own, 'sequence').max():.0f} tokens{tail}."
    )


def _room_table(rows: Table) -> TableBlock:
    counts = sorted({int(m) for m in floats(rows, "microbatches")})
    table = [
        (label, *(_needed(where(rows, "label", label), count) for count in counts))
        for label in unique(rows, "label")
    ]
    return TableBlock(
        key="room",
        caption="Device memory of OPT-175B in GB, by format and microbatches per step. A dash: not "
        "asked.",
        header=("format", *map(str, counts)),
        rows=tuple(table),
    )


def _needed(rows: Table, microbatches: int) -> str:
    mine = where(rows, "microbatches", microbatches)
    return number(floats(mine, "device_bytes").max() / _GB) if len(mine) else DASH


# The step


def _step(table: Table) -> Section:
    rows = of_question(table, "budget")
    plain = where(plain_plan(rows), "microbatches", 1)
    step_s = floats(plain, "step_s")
    words = (
        Ref("steps"),
        " gives the step of the plainest plan: fp16, page-locked RAM, one sequence, written back "
        f"in every step. It takes {between(step_s, seconds)}, and {_binds(plain)}. "
        f"{_by_hand(plain)} ",
        Ref("choices"),
        " changes one thing at a time. A link that a machine does not have is a what-if. Pageable "
        "copies are taken to overlap, with a host thread for each direction. An fp8 master is "
        "listed for its size and speed: small updates vanish in so few bits.",
    )
    return Section(
        "What a step takes", (Paragraph(*words), _steps_table(plain, table), _choices_table(rows))
    )


def _by_hand(rows: Table) -> str:
    """Bytes over the link and FLOP, for a reader who wants to check."""
    elements, tokens = floats(rows, "model_elements").max(), floats(rows, "tokens_per_step").max()
    nbytes = 2 * elements
    uploads = [
        f"{between(nbytes / rates, seconds)} at {between(rates / _GB)}{SPACE}GB/s on PCIe {pcie}"
        for pcie in _generations(rows)
        for rates in (floats(where(rows, PCIE, pcie), "h2d_bytes_per_s"),)
    ]
    return (
        f"By hand: 2 bytes for each of {number(elements / 1e9)} billion parameters are "
        f"{number(nbytes / _GB)}{SPACE}GB. Their upload alone takes {listed(uploads)}, and most "
        "links are slower each way while both are busy. Two forwards are 4 FLOP per parameter and "
        f"token, {number(4 * elements * tokens / 1e15)}{SPACE}PFLOP; the resident model's time "
        "holds those, and noise."
    )


def _binds(rows: Table) -> str:
    by_pcie = [
        f"on PCIe {pcie} {_share_bound(where(rows, PCIE, pcie))}" for pcie in _generations(rows)
    ]
    return f"compute binds {listed(by_pcie)}"


def _share_bound(rows: Table) -> str:
    bound = sum(name == "compute" for name in texts(rows, "binding_resource"))
    return f"on {bound} of {len(rows)} machines" if bound else "nowhere"


def _generations(rows: Table) -> list[int]:
    return sorted({int(g) for g in floats(rows, PCIE)})


def _steps_table(plain: Table, table: Table) -> TableBlock:
    resident = where(of_question(table, "budget_resident"), "label", "resident")
    base = where(resident, "microbatches", 1)
    generations = _generations(plain)

    def cells(machine: str) -> tuple[str, ...]:
        mine = where(plain, "machine", machine)
        steps = [floats(where(mine, PCIE, g), "step_s") for g in generations]
        own = floats(where(base, "machine", machine), "step_s")
        return (machine, *(number(float(s[0])) for s in (*steps, own)))

    return TableBlock(
        key="steps",
        caption="Seconds per step of OPT-175B within the budget, 2048 tokens, by the generation of "
        "PCIe; last, without offloading, were the device large enough.",
        header=("machine", *(f"PCIe {g}" for g in generations), "resident"),
        rows=tuple(cells(machine) for machine in unique(plain, "machine")),
    )


def _choices_table(rows: Table) -> TableBlock:
    generations = _generations(rows)
    table = [
        (name, *(_gain(where(rows, PCIE, g), changes) for g in generations))
        for name, changes in CHOICES.items()
    ]
    return TableBlock(
        key="choices",
        caption="Tokens per second relative to the plainest plan on the same machine and link, "
        "smallest to largest over the machines.",
        header=("one change", *(f"PCIe {g}" for g in generations)),
        rows=tuple(table),
        wide=True,
    )


def _gain(rows: Table, changes: Mapping[str, object]) -> str:
    base, own = _speeds(rows, _PLAINEST), _speeds(rows, {**_PLAINEST, **changes})
    ratios = [own[machine] / base[machine] for machine in own if machine in base]
    return between(ratios) if ratios else DASH


def _speeds(rows: Table, settings: Mapping[str, object]) -> dict[str, float]:
    for column, value in settings.items():
        rows = where(rows, column, value)
    return dict(zip(texts(rows, "machine"), floats(rows, "tokens_per_s"), strict=True))


def budget_sentences(table: Table) -> Iterator[str]:
    """For the abstract: what it takes, and when it is free."""
    if not answers_budget(table):
        return
    plain = where(plain_plan(of_question(table, "budget")), "microbatches", 1)
    needed: Floats = floats(plain, "device_bytes") / _GB
    yield (
        f"Within {_budget_words(of_question(table, 'budget'))} of device memory, OPT-175B needs "
        f"{between(needed)}{SPACE}GB and takes {between(floats(plain, 'step_s'), seconds)} per "
        "step of 2048 tokens."
    )
    yield (
        "Against the same runtime with a resident model, offloading is free from these tokens per "
        f"step on: {free_words(shares(table))}."
    )
