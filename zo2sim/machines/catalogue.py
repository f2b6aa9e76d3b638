"""The machines that come with the package: a card, on a host of its kind, by a link of its class.

`data/machines/cards.toml` holds what data sheets say, `hosts.toml` and `links.toml` what is common
to a class; rates that somebody measured are medians of all hosts at hand (`population`). A card
that nobody measured reaches of its data sheet what the cards of its segment do.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from math import log
from statistics import median
from typing import Any

from zo2sim import toml
from zo2sim.machines.population import (
    measurements,
    population,
    spread_around,
    subjects,
)
from zo2sim.machines.quantity import PASS_RATIO, Provenance, Quantity

Table = dict[str, Any]
"""A machine file, or a part of one, as TOML has it."""

GEMM, FP32_GEMM = "device.gemm_flops_per_s", "device.fp32_gemm_flops_per_s"
SUSTAINED, LAUNCH = "device.sustained_ratio", "device.launch_s"
_RATES = tuple(
    f"{state}{way}" for state in ("", "both_", "pageable_", "staged_") for way in ("h2d", "d2h")
)
_SEGMENT = "{segment} cards: what a large product reaches of the data sheet on {count} of them"
_REFERENCE_CLOCKS = 108 * 1410e6  # SMs times boost clock of an A100
_L2 = (
    "Philox4x32-10 takes about 60 integer operations for 8 elements; the look-up of 4 bytes in a "
    "256 KiB table is served by L2, 160 sectors per cycle on an A100 = 2.3e11 per second; half of "
    "that, times SMs x clock over an A100's"
)
_INTEGERS = (
    "about 10 integer and fp32 operations per element (60 of Philox serve 128) at 64 integer lanes "
    "per SM = 1e12 per second on an A100; half of that, times SMs x clock over an A100's"
)
_WRITES = "generation in fp32 taken as bound by writing 4 bytes per element: memory rate / 4"
_NOISE_FACTOR = 1.6  # half of a bound: between a third of it and four fifths
_ANY = "any"
_OTHER_CARD = 2.0  # cards of a segment differ by more than hosts of a card
_OTHER_HOST = 1.2
_LAUNCHES = {
    "server": (
        15e-6,
        "torch's dispatcher takes 7 to 8 us per operation from Python on a server with an A100 "
        "(flagos-ai/Torch-FL pull 27, flagos-ai/FlagGems issue 4558); twice that with the modules "
        "of a model around it",
    ),
    "desktop": (
        9e-6,
        "half of what a server takes, whose cores run at little more than half of a desktop's "
        "clock",
    ),
}
_STAGED = 2.0  # several threads over one, assumed where nobody measured it


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a data sheet says of a card, in SI units, and what it stands on."""

    name: str
    words: str
    architecture: str
    segment: str
    host: str
    link: str
    source: str
    memory_bytes: float
    memory_bytes_per_s: float
    num_sms: int
    boost_hz: float
    fp16_flops_per_s: float
    fp32_flops_per_s: float
    bf16_flops_per_s: float | None = None
    kernel_table: str | None = None


@cache
def names() -> tuple[str, ...]:
    """The machines of the catalogue that have a card."""
    return tuple(sorted((*_file("cards")["cards"], *_file("cards")["variants"])))


def machine_table(name: str, *, without: Collection[str] = ()) -> Table:
    """A machine of the catalogue as a machine file has it; ``without`` are sources of measurements
    that are left out, as if they had never measured."""
    variant = _file("cards")["variants"].get(name, {})
    card_name = str(variant.get("card", name))
    card = card_of(card_name)
    host = str(variant.get("host", card.host))
    hosts, link = _file("hosts"), _file("links")["links"][card.link]
    own = dict(hosts["hosts"][host])
    words, drive = own.pop("words"), own.pop("nvme", "pcie-4.0")
    return {
        "machine": {
            "name": name,
            "description": f"{card.words} in {words}: {link['words']}",
            "class": card.architecture,
        },
        "device": _device(card_name, host, frozenset(without)),
        "link": {**_file("links")["common"], **link_rates(card.link, without=frozenset(without))},
        "host": {**hosts["common"], **own},
        "nvme": {**hosts["nvme"]["common"], **hosts["nvme"][drive]},
    }


@cache
def card_of(name: str) -> Card:
    """A card by the name of its machine."""
    row = dict(_file("cards")["cards"][name])
    half, single, brain = (row.pop(f"{d}_tflops", None) for d in ("fp16", "fp32", "bf16"))
    return Card(
        name=row.pop("name"),
        words=row.pop("words"),
        architecture=row.pop("class"),
        memory_bytes_per_s=row.pop("memory_gb_per_s") * 1e9,
        boost_hz=row.pop("boost_mhz") * 1e6,
        fp16_flops_per_s=half * 1e12,
        fp32_flops_per_s=single * 1e12,
        bf16_flops_per_s=None if brain is None else brain * 1e12,
        **row,
    )


def link_rates(link: str, *, without: frozenset[str]) -> Table:
    """The rates of a class of links, by key of a machine file."""
    other = _file("links")["links"][link].get("as", link)
    found = {way: _rate(other, way, without) for way in _RATES}
    for way in _RATES:
        state, _, direction = way.rpartition("_")
        if state:
            found[way] = _at_most(found[way], found[direction])
    return {f"{way}_bytes_per_s": asdict(rate) for way, rate in found.items()}


def _rate(link: str, way: str, without: frozenset[str]) -> Quantity:
    """A measured rate, or the one of the other direction where nobody measured this one."""
    key, other = f"link.{way}_bytes_per_s", way.replace("d2h", "h2d")
    own = measurements(key, link, without=without)
    if own:
        return population(key, own)
    if way != other:
        return _as(_rate(link, other, without), "as the other direction")
    if way.startswith("both_"):
        return _as(_rate(link, way.removeprefix("both_"), without), "as one way")
    return _of_another_class(link, way, without)


def _of_another_class(link: str, way: str, without: frozenset[str]) -> Quantity:
    """By the nearest class of links that somebody measured, at the ratio of what the data sheets
    allow; copies through a bounce buffer are the host's, and as fast as there."""
    key, state = f"link.{way}_bytes_per_s", way.rpartition("_")[0]
    peaks = {name: row["peak_gb_per_s"] for name, row in _file("links")["links"].items()}
    known = [o for o in subjects(key) if measurements(key, o, without=without)]
    if not known and state == "staged":
        one = _rate(link, way.replace("staged", "pageable"), without)
        source = f"{_STAGED:g} times one thread's; {one.source}"
        return spread_around(one.value * _STAGED, key, source=source)
    other = min(known, key=lambda o: abs(log(peaks[o] / peaks[link])))
    found = population(key, measurements(key, other, without=without))
    if state in ("pageable", "staged"):
        return _as(found, f"as on {other}")
    ratio = peaks[link] / peaks[other]
    source = f"{other} times {ratio:.3g}, the ratio of their peaks: {found.source}"
    return spread_around(found.value * ratio, key, source=source)


def _at_most(rate: Quantity, most: Quantity) -> Quantity:
    """No copy is faster than one from page-locked memory with the link to itself."""
    value = min(rate.value, most.value)
    low, high = rate.interval
    return Quantity(
        value,
        rate.provenance,
        rate.source,
        low=low * value / rate.value,
        high=max(min(high, most.value), value),
    )


def _as(rate: Quantity, words: str) -> Quantity:
    return Quantity(rate.value, "assumed", f"{words}; {rate.source}", low=rate.low, high=rate.high)


def _device(name: str, host: str, without: frozenset[str]) -> Table:
    card = card_of(name)
    sheet: dict[str, float | None] = {
        "memory_bytes": card.memory_bytes,
        "memory_bytes_per_s": card.memory_bytes_per_s,
        "num_sms": card.num_sms,
        "fp16_flops_per_s": card.fp16_flops_per_s,
        "bf16_flops_per_s": card.bf16_flops_per_s,
        "fp32_flops_per_s": card.fp32_flops_per_s,
    }
    found = {
        GEMM: large_product(name, GEMM, without=without),
        FP32_GEMM: large_product(name, FP32_GEMM, without=without),
        SUSTAINED: _sustained(card.segment, without),
        LAUNCH: _launch(_hosts_like(host), without),
    }
    return {
        "name": card.name,
        **({} if card.kernel_table is None else {"kernel_table": card.kernel_table}),
        **{k: _number(v, "datasheet", card.source) for k, v in sheet.items() if v is not None},
        **_file("cards")["common"],
        "pass_ratio": asdict(PASS_RATIO),
        **{key.removeprefix("device."): asdict(quantity) for key, quantity in found.items()},
        **dict(_noise(card)),
    }


def large_product(name: str, key: str, *, without: frozenset[str]) -> Quantity:
    """What a large product reaches on a card: measured there, or as on cards of its segment."""
    own = measurements(key, name, without=without)
    if own:
        return population(key, own)
    card = card_of(name)
    ratios = _reached(card.segment, key, without) or _reached(None, key, without)
    logs = [log(ratio) for ratio in ratios.values()]
    value = median(ratios.values()) * _peak(card, key)
    source = _SEGMENT.format(segment=card.segment, count=len(ratios))
    middle = log(value) - median(logs)
    found = spread_around(
        value, key, (one + middle for one in logs), source=source, wider=_OTHER_CARD
    )
    return Quantity(found.value, "assumed", source, low=found.low, high=found.high)


@cache
def _reached(segment: str | None, key: str, without: frozenset[str]) -> Mapping[str, float]:
    """What the measured cards of a segment, or all of them, reach of their data sheets."""
    found: dict[str, float] = {}
    for name in subjects(key):
        own = measurements(key, name, without=without)
        card = card_of(name)
        if own and segment in (None, card.segment):
            found[name] = population(key, own).value / _peak(card, key)
    return found


def _peak(card: Card, key: str) -> float:
    return card.fp16_flops_per_s if key == GEMM else card.fp32_flops_per_s


def _sustained(segment: str, without: frozenset[str]) -> Quantity:
    """What long work leaves of a large product: as on cards of the segment, or on any."""
    own = measurements(SUSTAINED, segment, without=without)
    return population(SUSTAINED, own or measurements(SUSTAINED, _ANY, without=without))


def _launch(kind: str, without: frozenset[str]) -> Quantity:
    """What a launch takes on hosts of a kind."""
    own = measurements(LAUNCH, kind, without=without)
    if own:
        return population(LAUNCH, own)
    value, words = _LAUNCHES[kind]
    found = spread_around(value, LAUNCH, source=words, wider=_OTHER_HOST)
    return Quantity(found.value, "assumed", words, low=found.low, high=found.high)


def _hosts_like(host: str) -> str:
    return "desktop" if host in ("desktop", "workstation", "laptop") else "server"


def _noise(card: Card) -> Iterator[tuple[str, Table]]:
    clocks = card.num_sms * card.boost_hz / _REFERENCE_CLOCKS
    for kind, value, source in (
        ("gaussian", 100e9 * clocks, _L2),
        ("rademacher", 500e9 * clocks, _INTEGERS),
        ("torch", card.memory_bytes_per_s / 4, _WRITES),
    ):
        ends = {"low": value / _NOISE_FACTOR, "high": value * _NOISE_FACTOR}
        yield f"{kind}_noise_elements_per_s", {**_number(value, "assumed", source), **ends}


def _number(value: float, provenance: Provenance, source: str) -> Table:
    return {"value": value, "provenance": provenance, "source": source}


@cache
def _file(name: str) -> Table:
    text = files("zo2sim").joinpath(f"data/machines/{name}.toml").read_text(encoding="utf-8")
    return toml.parse(text, must=f"{name}.toml must be valid TOML")
