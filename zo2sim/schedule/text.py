"""The text form of a schedule: one line per operation, the same in both directions.

    schedule zo2/period steps=1
    H0 h2d slot=0 reads host:0 writes slot:0 after D2^ F2^
    U0 compute slot=0 records=1 reads record:0 slot:0 writes slot:0 after H0

`brief` is the one-line form of names and edges, for people and tests.
"""

import re
from collections.abc import Iterable

from zo2sim.schedule.ops import HEAD, LETTERS, TAIL, Buffer, BufferSpace, Op, Schedule, Stream

_KINDS = {letter: kind for kind, letter in LETTERS.items()}
_UNITS = {"head": HEAD, "tail": TAIL}
_NAME = re.compile(
    r"([A-Z])(head|tail|\d+)?(?:%(\d+))?(?:/(\d+))?(?:\.(\d+))?(?:@(\d+))?",
)
_SECTIONS = ("reads", "writes", "after")


def brief(schedule: Schedule) -> str:
    """``H0 | F0<H0 | D0<F0``: names in issue order, each with the operations that it waits for."""
    return " | ".join(
        op.name + ("<" + ",".join(op.after) if op.after else "") for op in schedule.ops
    )


def dump(schedule: Schedule) -> str:
    """The text of a schedule; ``parse`` reads it back."""
    lines = [f"schedule {schedule.name} steps={schedule.steps}", *map(_line, schedule.ops)]
    return "\n".join(lines) + "\n"


def parse(text: str, *, where: str = "schedule") -> Schedule:
    """The schedule of a text. Raises ``ValueError`` that names the line and what it must hold."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{where}: must start with 'schedule NAME steps=K'; got an empty text")
    header = re.fullmatch(r"schedule (\S+) steps=([1-9]\d*)", lines[0][1].strip())
    if header is None:
        raise ValueError(f"{where}:1: must be 'schedule NAME steps=K'; got {lines[0][1]!r}")
    ops = tuple(_parsed(line, f"{where}:{number}") for number, line in lines[1:])
    return Schedule(name=header[1], steps=int(header[2]), ops=ops)


def _line(op: Op) -> str:
    words = [op.name, op.stream.value]
    words += [f"slot={op.slot}"] if op.slot is not None else []
    words += [f"lanes={op.lanes}"] if op.lanes else []
    words += [f"records={op.records}"] if op.records else []
    lists: tuple[tuple[str, Iterable[object]], ...] = (
        ("reads", op.reads),
        ("writes", op.writes),
        ("after", op.after),
    )
    for section, items in lists:
        texts = [str(item) for item in items]
        words += [section, *texts] if texts else []
    return " ".join(words)


def _parsed(line: str, where: str) -> Op:
    try:
        return _op(line.split())
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"{where}: must be 'NAME STREAM [slot=N] [lanes=L] [records=N] [reads ...] "
            f"[writes ...] [after ...]'; got {line.strip()!r} ({error})"
        ) from None


def _op(words: list[str]) -> Op:
    name = _NAME.fullmatch(words[0])
    if name is None:
        raise ValueError(f"{words[0]!r} is no operation name such as H0, F3%1 or D2@1")
    letter, unit, *numbers = name.groups()
    device, group, trip, step = (int(number or 0) for number in numbers)
    settings, sections = _split(words[2:])
    return Op(
        kind=_KINDS[letter],
        stream=Stream(words[1]),
        device=device,
        group=group,
        unit=None if unit is None else _unit(unit),
        trip=trip,
        step=step,
        slot=int(settings["slot"]) if "slot" in settings else None,
        lanes=settings.get("lanes", ""),
        records=int(settings.get("records", "0")),
        reads=tuple(map(_buffer, sections["reads"])),
        writes=tuple(map(_buffer, sections["writes"])),
        after=tuple(sections["after"]),
    )


def _split(words: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    settings: dict[str, str] = {}
    sections: dict[str, list[str]] = {section: [] for section in _SECTIONS}
    current: list[str] | None = None
    for word in words:
        if word in sections:
            current = sections[word]
        elif current is not None:
            current.append(word)
        elif word.partition("=")[0] in ("slot", "lanes", "records"):
            key, _, value = word.partition("=")
            settings[key] = value
        else:
            raise ValueError(f"{word!r} is neither slot=, lanes=, records= nor a section")
    return settings, sections


def _buffer(text: str) -> Buffer:
    space, _, rest = text.partition(":")
    number, _, device = rest.partition("%")
    return Buffer(BufferSpace(space), _unit(number), int(device or 0))


def _unit(text: str) -> int:
    return _UNITS[text] if text in _UNITS else int(text)
