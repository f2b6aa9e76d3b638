"""What a case would ask of calibrated constants, against what they were calibrated with."""

from collections.abc import Iterable, Iterator, Mapping

from zo2sim.machines.evidence import CHOICES, SIZES, Calibrated, Range
from zo2sim.predict.case import Case

UNSAID = "every size: the machine file does not say what was calibrated"


def sizes(case: Case) -> dict[str, float]:
    """The sizes of a case, in the order of `SIZES`."""
    model, recipe = case.model, case.recipe
    blocks = {model.blocks[number] for number in set(model.first_alike)}
    stored = recipe.storage_dtype, recipe.plain_dtype
    return {
        "sequence": float(recipe.sequence),
        "lane_tokens": float(recipe.batch * recipe.sequence),
        "num_lanes": float(recipe.num_lanes),
        "num_blocks": float(model.num_blocks),
        "block_bytes": float(max(block.buffer_bytes(*stored) for block in blocks)),
        "vocabulary": float(model.vocab),
    }


def choices(case: Case) -> dict[str, str]:
    """The choices of a case, in the order of `CHOICES`."""
    settings = {name: getattr(case.recipe, name, None) for name in CHOICES}
    where = "host" if case.plan.policy.traits.updates_on_host else "device"
    settings |= {"pinning": case.plan.pinning, "tier": case.plan.tier, "update_on": where}
    return {name: str(value) for name, value in settings.items()}


def seen(cases: Iterable[Case], source: str, *, before: Calibrated | None = None) -> Calibrated:
    """The ranges that the cases span, together with those of ``before``."""
    ranges = dict(() if before is None else before.ranges)
    words = dict(() if before is None else before.choices)
    for case in cases:
        for name, value in sizes(case).items():
            own = ranges.get(name, Range(low=value, high=value))
            ranges[name] = Range(low=min(own.low, value), high=max(own.high, value))
        for name, word in choices(case).items():
            words[name] = tuple(dict.fromkeys((*words.get(name, ()), word)))
    return Calibrated(source=source, ranges=tuple(ranges.items()), choices=tuple(words.items()))


def outside(case: Case) -> Iterator[str]:
    """What of a case was not calibrated, for people; nothing where no core was calibrated."""
    machine = case.machine
    if machine.calibrated is None:
        if machine.cpu is not None:
            yield UNSAID
        return
    yield from _sizes_outside(sizes(case), dict(machine.calibrated.ranges))
    allowed = dict(machine.calibrated.choices)
    for name, word in choices(case).items():
        if name in allowed and word not in allowed[name]:
            known = " or ".join(allowed[name])
            yield f"{name.replace('_', ' ')} {word} (calibrated: {known})"


def _sizes_outside(found: Mapping[str, float], ranges: Mapping[str, Range]) -> Iterator[str]:
    for name, value in found.items():
        own = ranges.get(name)
        if own is not None and not own.holds(value):
            yield f"{_short(value)} {SIZES[name]} (calibrated: {_between(own)})"


def _between(own: Range) -> str:
    low, high = _short(own.low), _short(own.high)
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    for unit, factor in (("e9", 1e9), ("e6", 1e6)):
        if value >= 0.1 * factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:,.0f}"
