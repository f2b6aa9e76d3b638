"""Numbers as words: three significant digits, units, ranges."""

from collections.abc import Callable, Iterable, Sequence

from zo2sim.memory.account import GIB, MIB

BINDING_NAMES = {
    "compute": "compute",
    "link_h2d": "the link, host to device",
    "link_d2h": "the link, device to host",
    "link_both_ways": "the link both ways",
    "dram": "host DRAM",
    "cpu": "the CPU",
    "nvme_read": "NVMe reads",
    "nvme_write": "NVMe writes",
    "dependencies": "the chain of dependencies",
}


SPACE = "\u00a0"
"""Between a number and its unit, where no line may break."""
DASH = "\u2013"
"""What stands for a number that is not known."""
NARROW_SPACE = "\u202f"
"""Between thousands."""
_FEW = 7


def number(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.23, 123, 12 345."""
    if value != value:
        return DASH
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", NARROW_SPACE)
    digits = 0
    while abs(value) * 10**digits < 99.95 and digits < 6:
        digits += 1
    return f"{value:.{digits}f}"


def setting(value: object) -> str:
    """A setting as people say it: what is on or off is ``yes`` or ``no``."""
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def gib(nbytes: float) -> str:
    """A size, e.g. ``18.0 GiB``, in MiB below one."""
    if 0 < nbytes < GIB:
        return f"{number(nbytes / MIB)}{SPACE}MiB"
    return f"{number(nbytes / GIB)}{SPACE}GiB"


def seconds(value: float) -> str:
    """A time, in ms below a second."""
    return f"{number(1e3 * value)}{SPACE}ms" if value < 1.0 else f"{number(value)}{SPACE}s"


def percent(share: float) -> str:
    """A share without a sign, e.g. ``4.2 %``."""
    return DASH if share != share else f"{100 * share:.1f}{SPACE}%"


def signed(value: float, digits: int) -> str:
    """A number with its sign, e.g. ``+0.25``; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    return (text if text.strip("+-0.") else text[1:]).replace("-", "\u2212")


def signed_percent(share: float) -> str:
    """A deviation with its sign, e.g. ``+4.2 %``; what rounds to zero has none."""
    return DASH if share != share else f"{signed(100 * share, 1)}{SPACE}%"


def between(values: Iterable[float], show: Callable[[float], str] = number) -> str:
    """Smallest to largest, or the one value where both look the same."""
    known = [value for value in values if value == value]
    low, high = show(min(known)), show(max(known))
    return low if low == high else f"{low} to {high}"


def span(low: float, high: float, show: Callable[[float], str]) -> str:
    """``62.9 to 76.8 ms``: a unit that both ends have stands once."""
    first, last = show(low), show(high)
    number, *unit = first.split(maxsplit=1)
    return f"{number if unit and last.split()[1:] == unit else first} to {last}"


def listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def bind(names: Sequence[str]) -> str:
    """``compute binds``, ``NVMe reads and dependencies bind``: limits that bind alike."""
    words = listed(BINDING_NAMES.get(name, name) for name in names)
    return f"{words} bind{'s' if len(names) == 1 else ''}"


def counted(count: int, noun: str) -> str:
    """``1 figure``, ``2 figures``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def few(words: Iterable[str], noun: str) -> str:
    """Up to seven words, listed; of more only the count, as in ``34 models``."""
    found = list(words)
    return listed(found) if len(found) <= _FEW else counted(len(found), noun)
