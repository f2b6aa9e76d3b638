"""Machines with prices, from a table that the user brings, and the cheapest of them for a model.

currency = "EUR"

[[machine]]
name = "a100-pcie-80gb"     # of the catalogue, or the path of a machine file
price_per_hour = 1.5
watts = 400                 # optional, as are device_memory and host_memory
host_memory = "256GiB"
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from experiments.answer.questions import hours_for, told
from experiments.case.sizes import parse_bytes, show_number
from experiments.case.spec import Spec
from experiments.case.target import plan_flags
from experiments.cli import Answer
from experiments.screen import headed, left, tracked
from zo2sim import toml
from zo2sim.checks import positive
from zo2sim.predict.case import Case
from zo2sim.reading import read_text
from zo2sim.search.search import Effort, NothingFits, Search, search
from zo2sim.search.space import PlanSpace, plan_axes

_KEYS = ("name", "price_per_hour", "watts", "device_memory", "host_memory")
_POINT = "Speeds and prices are point predictions; plan --machine NAME has their bands."
_EFFORT = Effort(tolerance=0.005, simulations=6, grain=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A machine by name or path, what an hour of it costs, and what it draws if known."""

    name: str
    price_per_hour: float
    watts: float | None = None
    changes: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What an offer gives: None where nothing fits."""

    offer: Offer
    answer: Search | None

    @property
    def tokens_per_s(self) -> float:
        return 0.0 if self.answer is None else self.answer.best.tokens_per_s

    @property
    def price_per_token(self) -> float:
        if self.answer is None:
            return float("inf")
        return self.offer.price_per_hour / 3600.0 / self.tokens_per_s

    @property
    def least_price_per_token(self) -> float:
        """No plan on this machine makes a token cheaper."""
        return self.price_per_token / (1.0 if self.answer is None else 1.0 + self.answer.gap)


def read_offers(path: Path) -> tuple[str, tuple[Offer, ...]]:
    """Currency and offers of a table. Raises ``ValueError`` that names what is wrong, and where."""
    table = toml.parse(read_text(path), must=f"{path}: must be TOML")
    rows = table.get("machine")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: must have at least one [[machine]]; it has none")
    return str(table.get("currency", "")), tuple(_offer(row, f"{path}: machine") for row in rows)


def _offer(row: Any, where: str) -> Offer:
    unknown = sorted(set(row) - set(_KEYS)) if isinstance(row, dict) else [str(row)]
    if unknown:
        raise ValueError(f"{where}: keys must be {', '.join(_KEYS)}; got {unknown[0]}")
    if "name" not in row or "price_per_hour" not in row:
        raise ValueError(f"{where}: must have name and price_per_hour; got {', '.join(row)}")
    sizes = (("device.memory_bytes", "device_memory"), ("host.memory_bytes", "host_memory"))
    return Offer(
        name=str(row["name"]),
        price_per_hour=positive(f"{where}: price_per_hour", row["price_per_hour"]),
        watts=positive(f"{where}: watts", row["watts"]) if "watts" in row else None,
        changes=tuple(
            (key, parse_bytes(str(row[name]), flag=f"{where}: {name}"))
            for key, name in sizes
            if name in row
        ),
    )


def cheapest(
    spec: Spec,
    path: Path,
    fixed: Collection[str] = (),
    *,
    tokens_per_s: float | None,
    tokens: float | None,
) -> Answer:
    """The machine of a table on which a token costs least, of those that reach the target."""
    currency, offers = read_offers(path)
    each = tracked(offers, "machines", total=len(offers))
    priced = [_priced(spec, offer, fixed) for offer in each]
    least = 0.0 if tokens_per_s is None else tokens_per_s
    fast = [p for p in priced if p.answer is not None and p.tokens_per_s >= least]
    order = sorted(fast, key=lambda p: p.price_per_token)
    best = order[0] if order else None
    content = {
        "currency": currency,
        "fixed": {name: getattr(spec.plan, name) for name in sorted(fixed)},
        "cheapest": None if best is None else best.offer.name,
        "machines": [_content(p, p in fast, tokens) for p in priced],
    }
    others = [p for p in priced if p not in fast]
    return told(_table([*order, *others], fast, currency, tokens), content, yes=best is not None)


def _priced(spec: Spec, offer: Offer, fixed: Collection[str]) -> Priced:
    own = Spec(
        model=spec.model,
        machine=offer.name,
        plan=spec.plan,
        recipe=spec.recipe,
        changes=offer.changes,
    )
    base: Case = own.case()
    try:
        answer = search(PlanSpace(base=base, axes=plan_axes(base, fixed=fixed)), effort=_EFFORT)
    except NothingFits:
        answer = None
    return Priced(offer=offer, answer=answer)


def _table(rows: list[Priced], fast: list[Priced], currency: str, tokens: float | None) -> Table:
    unit = f"{currency} per 1M tokens".strip()
    totals = () if tokens is None else left("hours", "total", whole=True)
    table = headed(
        *left("machine", "tokens/s", whole=True),
        unit,
        *totals,
        "plan",
        title="the cheapest first; every machine with its own best plan",
        gap=1,
    )
    table.caption, table.caption_justify = _POINT, "left"
    for row in rows:
        total = () if tokens is None else ("", "")
        price, plan = "nothing fits", ""
        if row.answer is not None:
            price = f"{row.price_per_token * 1e6:.4g}" + ("" if row in fast else ", too slow")
            plan = " ".join(plan_flags(row.answer.best.case, row.answer.best.case.recipe))
            if tokens is not None:
                hours = hours_for(tokens, row.tokens_per_s)
                total = (f"{hours:,.4g}", f"{hours * row.offer.price_per_hour:,.4g}")
        table.add_row(escape(row.offer.name), show_number(row.tokens_per_s), price, *total, plan)
    return table


def _content(row: Priced, fast_enough: bool, tokens: float | None) -> Mapping[str, Any]:
    content: dict[str, Any] = {
        "machine": row.offer.name,
        "fits": row.answer is not None,
        "fast_enough": fast_enough,
    }
    if row.answer is None:
        return content
    content |= {
        "tokens_per_s": row.tokens_per_s,
        "price_per_token": row.price_per_token,
        "least_price_per_token": row.least_price_per_token,
    }
    if tokens is not None:
        hours = hours_for(tokens, row.tokens_per_s)
        watts = row.offer.watts
        content |= {
            "hours": hours,
            "total": hours * row.offer.price_per_hour,
            "kwh": None if watts is None else hours * watts / 1e3,
        }
    return content
