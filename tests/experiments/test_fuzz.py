"""Every reader of a file takes what is left of one, or says a line: no other error, no hang.

python -m tests.experiments.test_fuzz 10000
"""

import gzip
import json
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import pytest

from analysis.report.document_file import dump as document_text
from analysis.report.document_file import load as document_of
from experiments.answer.prices import read_offers
from experiments.campaign.recorded_run import case_of, read_recorded, write_spec
from experiments.case.here import Card, Here, read_card
from experiments.comparison.earlier import read_measured
from experiments.entry.arguments import parse as parse_flags
from experiments.folder.read import FinishedRun
from experiments.folder.write import write_run
from experiments.jobs.answers import Answers
from experiments.plan import Config as Planned
from experiments.training.history import History
from experiments.training.jsonl import read_task
from experiments.training.loaded_model import described
from experiments.training.settings import Config, resumed, settings_of
from tests.analysis.report.test_paper import told, whole_run
from tests.experiments.test_strangers import OPT
from tests.thorough import examples
from tests.zo2rt.journal import toy_run
from zo2rt.journal import read as read_journal
from zo2rt.journal.durable import Disk
from zo2rt.journal.recovery import JOURNAL
from zo2rt.measure.runs import RunSpec
from zo2sim.dtypes import Dtype
from zo2sim.machines import file as machine_file
from zo2sim.models import file as model_file
from zo2sim.models.config import from_config
from zo2sim.models.config import load as model_of
from zo2sim.plan import file as plan_file
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.reading import read_text
from zo2sim.schedule import text as schedule_text
from zo2sim.simulate.events import simulate
from zo2sim.simulate.perfetto import to_json

EACH = examples(100)
"""Inputs of each reader: 300 and more together."""
_MOST_S = 5
_MOST_BYTES = 10**9
_NASTY = (
    *("null", "-1", "1e999", "NaN", "Infinity", "9" * 5000, "1e308", "{}", "[]", '"', "true"),
    *("[" * 50_000, "{" * 5000, '"\\ud800"', "\x00", "\x1b[2J", "\n", "\u2028", "\ufeff", "../x"),
    *('{"a":' * 20_000, "=1+1", "[/x]", "0.5", "''", "[[[]]]", "a.b.c", "10" * 30),
)


@dataclass(frozen=True, slots=True)
class Reader:
    """``files`` are those of a folder that ``read`` takes; some of them come damaged."""

    files: Mapping[str, bytes]
    read: Callable[[Path], object]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The same file with one to four faults; a packed one is sometimes damaged within."""
    if content[:2] == b"\x1f\x8b" and draw.random() < 0.7:
        return gzip.compress(mutated(gzip.decompress(content), draw))
    for _ in range(draw.randint(1, 4)):
        content = _faulty(content, draw)
    return content


def _faulty(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    end = min(len(content), start + draw.choice((0, 1, 2, 8, 200)))
    nasty = draw.choice(_NASTY).encode("utf-8", "surrogatepass")
    match draw.randrange(6):
        case 0:
            return content[:start]
        case 1:
            return content[:start] + content[end:]
        case 2:
            return content[:start] + bytes([draw.randrange(256)]) + content[end:]
        case 3:
            return content[:end] + content[start:]
        case 4:
            return content[:start] + nasty + content[end:]
        case _:  # a whole value of JSON or TOML
            places = [n for n, byte in enumerate(content) if byte in b":="]
            start = draw.choice(places or [0]) + 1
            ends = [n for n in range(start, len(content)) if content[n] in b",}]\n"]
            return content[:start] + nasty + content[ends[0] if ends else start :]


@contextmanager
def limited() -> Iterator[None]:
    """Ends what takes more than `_MOST_S` of a processor, or `_MOST_BYTES` of memory."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"a reader must end within {_MOST_S} s")

    before = signal.signal(signal.SIGPROF, late)
    bounds = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + _MOST_BYTES, bounds[1]))
    signal.setitimer(signal.ITIMER_PROF, _MOST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, bounds)
        signal.signal(signal.SIGPROF, before)


def _data_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmData"))
    return int(line.split()[1]) * 1024


def fuzz(name: str, *, num: int) -> None:
    """Whatever a reader raises but ``ValueError`` comes out, with the input's number."""
    reader = readers()[name]
    for number in range(num):
        draw = random.Random(f"{name} {number}")
        damaged = draw.choice(sorted(reader.files))
        with TemporaryDirectory() as folder:
            for file, content in reader.files.items():
                path = Path(folder, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(mutated(content, draw) if file == damaged else content)
            try:
                with limited():
                    reader.read(Path(folder))
            except ValueError:
                continue
            except Exception as error:
                raise AssertionError(f"{name} {number}, {damaged}: {error!r}") from error


def _one(content: str, read: Callable[[Path], object]) -> Reader:
    return Reader({"file": content.encode()}, lambda folder: read(folder / "file"))


def _json(content: object) -> bytes:
    return json.dumps(content, default=str).encode()


@cache
def readers() -> dict[str, Reader]:
    program = case_of(SPEC).program
    schedule = schedule_text.dump(program.period)
    lines = "".join(f'{{"text": "{n}", "label": {n % 2}}}\n' for n in range(9))
    step = '{"kind": "evaluation", "step": 0, "held_out_loss": 1.0, "accuracy": null}\n'
    offers = '[[machine]]\nname = "a100-pcie-80gb"\nprice_per_hour = 1.5\nwatts = 400\n'
    answer = '{"key": "a", "code": "b", "answer": {"step_s": 1.0}}\n'
    return {
        "plan": _one(plan_file.dump(Plan(), Recipe()), lambda p: plan_file.parse(read_text(p))),
        "integer plan": _one(
            plan_file.dump(Plan(), INTEGER), lambda p: plan_file.parse(read_text(p))
        ),
        "machine": _one(
            machine_file.dump(machine_file.named("this-host")),
            lambda p: machine_file.load(read_text(p), where=str(p)),
        ),
        "machine here": _one(
            machine_file.dump(HERE.machine("here")),
            lambda p: machine_file.load(read_text(p), where=str(p)),
        ),
        "card": _one("NVIDIA H200, 143771, 9.0\n", lambda p: read_card(read_text(p))),
        "config": _one(json.dumps(OPT), model_of),
        "traced model": _one(model_file.dump(from_config(OPT, name="opt")), model_of),
        "model folder": Reader(_model(), lambda folder: described("m", folder)),
        "schedule": _one(schedule, lambda p: schedule_text.parse(read_text(p))),
        "document": _one(
            document_text(told("a")), lambda p: document_of(read_text(p), where=str(p))
        ),
        "offers": _one(offers, read_offers),
        "examples": _one(lines, lambda p: read_task(p, None, most_held_out=4)),
        "history": _one(2 * step, lambda p: History.resumed(p, 4, lambda _: (), tokens=8)),
        "answers": _one(2 * answer, lambda p: Answers(p).close()),
        "settings": _one(
            json.dumps({"settings": settings_of(Config())}, default=str),
            lambda p: resumed(Config(), p),
        ),
        "recorded": Reader(_recorded(), read_recorded),
        "validation": Reader(_validation(), read_measured),
        "finished": Reader(_finished(), FinishedRun.read),
        "finished, without a report": Reader(_without_report(), FinishedRun.read),
        "journal": Reader(_journalled(), _replayed),
        "flags": _one(FLAGS, lambda p: parse_flags(Planned, read_text(p).split("\n"))),
    }


SPEC = RunSpec(name="r", config=OPT, plan=Plan(), recipe=Recipe())
INTEGER = Recipe(storage_dtype=Dtype.INT4, wire_dtype=Dtype.INT4, trainable="lora:8")
HERE = Here(
    num_cores=8,
    memory_bytes=6.4e10,
    card=Card(name="NVIDIA H200", memory_bytes=1.5e11, capability=(9, 0)),
)
FLAGS = "--model\nopt-13b\n--machine\na100-pcie-80gb\n--storage-dtype\nint4\n--trainable\nlora:8"


def _recorded() -> dict[str, bytes]:
    case = case_of(SPEC)
    trace = simulate(case.program, case.cost, case.cost.rates, periods=2)
    with TemporaryDirectory() as folder:
        write_spec(Path(folder), SPEC)
        found = _contents(Path(folder))
    text = to_json(trace, name="r", metadata={})
    return found | {"trace.json.gz": gzip.compress(text.encode())}


def _validation() -> dict[str, bytes]:
    turn: dict[str, Any] = {"steps_s": {"1": 0.5, "2": 0.5}, "references_s": [1.0, 1.0]}
    row = {"name": "r", "turns": [turn, turn], "divergence": None}
    inside = {f"00/{name}": content for name, content in _recorded().items()}
    return inside | {"summary.json": _json({"configurations": [row]})}


def _finished() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        write_run(Path(folder), whole_run("x"), typeset=False)
        return _contents(Path(folder))


def _without_report() -> dict[str, bytes]:
    return {name: content for name, content in _finished().items() if name != "report.json"}


def _model() -> dict[str, bytes]:
    """What of a model's folder is read before its weights; adapters lie within."""
    index = {"metadata": {}, "weight_map": {"a.weight": "model-00001-of-00001.safetensors"}}
    adapters = {"base_model_name_or_path": "base", "r": 8, "peft_type": "LORA"}
    return {
        "base/config.json": _json(OPT),
        "base/model.safetensors.index.json": _json(index),
        "adapter_config.json": _json(adapters),
        "adapter_model.safetensors": b"",
    }


def _journalled() -> dict[str, bytes]:
    """Three records behind a snapshot, and archived ones before it."""
    with TemporaryDirectory() as folder:
        toy_run.run(Disk(), Path(folder), 9, save_every=3)
        return _contents(Path(folder))


def _replayed(folder: Path) -> None:
    read_journal(Disk(), folder / JOURNAL)
    toy_run.resumed(Disk(), folder)


def _contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


NAMES = (
    *("plan", "integer plan", "machine", "machine here", "card", "config", "traced model"),
    *("model folder", "schedule", "document", "offers", "examples", "history", "answers"),
    *("settings", "recorded", "validation", "finished", "finished, without a report"),
    *("journal", "flags"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused_in_time(name: str):
    fuzz(name, num=EACH)


def test_every_reader_is_tried():
    assert tuple(readers()) == NAMES
    assert EACH * len(NAMES) >= 300


if __name__ == "__main__":
    each = -(-int(sys.argv[1]) // len(NAMES))
    for one in NAMES:
        fuzz(one, num=each)
    most_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"{each * len(NAMES)} inputs, peak {most_bytes / 1e9:.2f} GB\n")
