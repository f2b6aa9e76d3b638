"""The whole command over the recorded fake, in small sizes: in order, in its budget, with faults.

`make rehearse-gpu` runs this and, over the `host` backend, the command itself.
"""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from transformers import OPTForCausalLM

from experiments import card, validate
from experiments.campaign.benchmarks import Campaign
from experiments.comparison import output
from experiments.day import day, parts, runs, sizes
from experiments.day.day import CONFIGURATIONS, MEASURING, Day
from experiments.day.parts import WHOLE_S, Deadline, Outcome, Part
from tests.commands import Outcome as Called
from tests.commands import call
from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from zo2rt.measure import disk, host_work, timing
from zo2rt.measure.card import CardSpecs
from zo2rt.measure.timing import Effort
from zo2rt.sampling.host import HostProbe
from zo2sim.machines.file import resolve

_ = OPTForCausalLM  # what it imports looks at PyTorch's types, and must not find the fake's

H100 = CardSpecs(name="NVIDIA H100", memory_bytes=10**11, num_sms=132, capability=(9, 0))
ORDER = [
    *("identity", "links", "sustained products", "kernels by shape", "passes and noise"),
    *("launches", "host", "parity and contracts", "predictions"),
    *(f"run: {name}" for name in CONFIGURATIONS),
    "validation",
]
MINUTES = 16.0
"""So much that nothing is cut on a busy machine; a rehearsal takes a minute of them."""


class Rehearsal:
    """The fake, with a mark in its log where a part begins; and how parts are to fail."""

    def __init__(self, fake: FakeAccelerator, folder: Path) -> None:
        self.fake, self.folder = fake, folder
        self.faults: dict[str, BaseException] = {}
        self.breaks_device: set[str] = set()
        self.seen: dict[str, set[str]] = {}

    def run(self, *more: str) -> Called:
        return call(card, "--out", str(self.folder), "--minutes", f"{MINUTES}", *more)

    def part(self, own: Part, left_s: float) -> Outcome:
        """One part; what was on disk when it began is kept."""
        self.fake.add("part", detail=own.name)
        self.seen[own.name] = {p.name for p in self.folder.glob("*")}
        with self.broken_device(own.name):
            return _RUN(own if own.name not in self.faults else self.failing(own), left_s)

    def failing(self, own: Part) -> Part:
        """It does all its work, and then it raises."""

        def run(deadline: Deadline) -> str:
            own.run(deadline)
            raise self.faults[own.name]

        return Part(name=own.name, most_s=own.most_s, run=run)

    @contextmanager
    def broken_device(self, name: str) -> Iterator[None]:
        if name in self.breaks_device:
            self.fake.record_error = RuntimeError("CUDA error: an illegal memory access")
        yield
        self.fake.record_error = None

    @property
    def calls(self) -> dict[str, list[str]]:
        """Names of the fake's calls, by part, in the order of the log."""
        found: dict[str, list[str]] = {}
        for one in self.fake.log:
            if one.name == "part":
                found[one.detail] = []
            elif found:
                [*found.values()][-1].append(one.name)
        return found

    @property
    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Status and reason by part, as on disk."""
        return {p["part"]: (p["status"], p["why"]) for p in self.json("summary.json")["parts"]}

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


_RUN = parts._run


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rehearsal:
    made = Rehearsal(FakeAccelerator().install(monkeypatch), tmp_path / "card")
    monkeypatch.setattr(parts, "_run", made.part)
    monkeypatch.setattr(sizes, "CARD", replace(sizes.REHEARSAL, load_s=0.05))
    monkeypatch.setattr(day, "_SAMPLED_EVERY_S", 0.01)
    monkeypatch.setattr(day, "read_card", lambda: H100)
    monkeypatch.setattr(day, "open_nvml", lambda _: HostProbe())
    monkeypatch.setattr(day, "identity", lambda: {"cpu": "any"})  # asks programs, for seconds
    monkeypatch.setattr(Campaign, "rounds", Effort(rounds=1, budget_s=1e-6, least=2))
    monkeypatch.setattr(host_work, "ELEMENTS", (2048,))
    monkeypatch.setattr(disk, "_PIECE_BYTES", 1 << 16)
    monkeypatch.setattr(timing, "_FAR_BYTES", 0.0)  # two of each, however near
    monkeypatch.setattr(runs, "_TURNS", 2)
    monkeypatch.setattr(runs, "_MOST_STEPS", 1)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # a second, over all that tests have imported
    monkeypatch.setattr(output, "_timelines", lambda _: Figure())
    monkeypatch.setattr(Day, "_tests", lambda *_: "passed")  # in a process, without the fake
    return made


def test_a_day_runs_its_parts_in_order_and_leaves_everything(rehearsal: Rehearsal):
    ran = rehearsal.run()
    assert {status for status, _ in rehearsal.outcomes.values()} == {"done"}, rehearsal.outcomes
    assert ran.code == 0
    assert [*rehearsal.outcomes] == ORDER == [*rehearsal.calls]

    calls = rehearsal.calls
    assert {"copy_", "record"} <= {*calls["run: resident"]} & {*calls["run: zo2, pageable"]}
    for name in ("links", *ORDER[ORDER.index("run: zo2, compute-bound") : -1]):
        locks = "cudaHostRegister" in calls[name]
        assert locks == (name != "run: zo2, pageable"), name
    for name in ("sustained products", "kernels by shape", "passes and noise", "launches"):
        assert "record" in calls[name]
        assert "cudaHostRegister" not in calls[name]
    for name in ("identity", "predictions", "validation"):
        assert calls[name] == [], f"{name} needs no card"
    assert rehearsal.fake.locked == {}, "what was page-locked is given back"

    machine = resolve(rehearsal.folder / "machine.toml")
    assert machine.device.name == "NVIDIA H100"
    measured = {key for key, q in machine.quantities.items() if "experiments.card" in q.source}
    assert {"device.sustained_ratio", "link.staged_h2d_bytes_per_s"} <= measured
    assert rehearsal.json("sustained.json")["samples"]
    assert machine.validation is not None
    assert machine.validation.n == len(CONFIGURATIONS)

    table = rehearsal.json("table.json")["configurations"]
    assert [row["name"] for row in table] == [*CONFIGURATIONS]
    assert all(row["in_band"] in (True, False) for row in table)
    predicted = rehearsal.json("predictions.json")
    assert [predicted[row["name"]]["predicted_s"] for row in table] == [
        row["predicted_s"] for row in table
    ]
    assert all(row["measured_s"] is None for row in predicted.values()), "made before they ran"
    assert "predictions.json" in rehearsal.seen["run: resident"]
    assert all(name in ran.out for name in CONFIGURATIONS)
    assert ran.out.endswith(f"--machine {rehearsal.folder / 'machine.toml'}\n")

    again = rehearsal.run()
    assert again.code == 2
    assert f"{rehearsal.folder} holds identity.json and no run.json" in again.complaint
    scored = call(
        validate,
        *("--machine", str(rehearsal.folder / "machine.toml"), "--json", "-"),
        *("--measured", str(rehearsal.folder / "validation")),
    )
    assert [row["name"] for row in scored.json["configurations"]] == [*CONFIGURATIONS]


def test_every_part_may_fail_and_what_was_measured_stays(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
):
    """Each does its work and then runs out of memory; the next one finds what it left."""
    monkeypatch.setattr(day, "CONFIGURATIONS", CONFIGURATIONS[:2])
    names = [*ORDER[: ORDER.index("run: zo2, compute-bound") + 1], ORDER[-1]]
    full = torch.OutOfMemoryError("CUDA out of memory")
    rehearsal.faults = dict.fromkeys(names, full)
    assert rehearsal.run().code == 1
    why = ("failed", "OutOfMemoryError: CUDA out of memory")
    assert rehearsal.outcomes == dict.fromkeys(names, why)
    left = {
        "links": "identity.json",
        "sustained products": "machine.toml",
        "kernels by shape": "sustained.json",
        "run: resident": "predictions.json",
        "run: zo2, compute-bound": "table.txt",
        "validation": "validation",
    }
    missing = {name: file for name, file in left.items() if file not in rehearsal.seen[name]}
    assert missing == {}
    assert {"summary.json", "summary.txt"} <= rehearsal.seen["links"]
    rows = rehearsal.json("table.json")["configurations"]
    assert tuple(row["name"] for row in rows if row["measured_s"]) == CONFIGURATIONS[:2]
    assert (rehearsal.folder / "validation" / "summary.json").is_file()


def test_a_card_that_fails_costs_the_part_that_it_fails_in(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
):
    """Every other part that uses the card finds it broken, and those between find it whole."""
    few = CONFIGURATIONS[::3]
    monkeypatch.setattr(day, "CONFIGURATIONS", few)
    on_card = [*MEASURING, *(f"run: {name}" for name in few)]
    rehearsal.breaks_device = {*on_card[::2]} - {"host"}
    assert rehearsal.run().code == 1
    failed = {name for name, (status, _) in rehearsal.outcomes.items() if status == "failed"}
    assert failed == rehearsal.breaks_device
    assert all("illegal memory access" in rehearsal.outcomes[name][1] for name in failed)
    table = rehearsal.json("table.json")["configurations"]
    measured = {f"run: {row['name']}" for row in table if row["measured_s"] is not None}
    assert measured == {f"run: {name}" for name in few} - failed
    assert rehearsal.fake.locked == {}


def test_an_interrupted_day_leaves_what_it_measured(rehearsal: Rehearsal):
    rehearsal.faults = {"kernels by shape": KeyboardInterrupt()}
    ran = rehearsal.run()
    assert ran.code == 1
    assert ran.err.endswith("error: interrupted\n")
    assert [*rehearsal.outcomes] == ORDER
    assert [status for status, _ in rehearsal.outcomes.values()] == [
        *("done", "done", "done", "failed"),
        *["skipped"] * (len(ORDER) - 4),
    ]
    resolve(rehearsal.folder / "machine.toml")
    names = {row["name"] for row in rehearsal.json("measurements.json")}
    assert any(name.startswith("gemm bf16") for name in names)


def test_without_a_card_it_is_refused_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    FakeAccelerator(None).install(monkeypatch)
    ran = call(card, "--out", str(tmp_path / "card"))
    assert ran.code == 2
    assert ran.complaint.startswith("--backend cuda needs a CUDA device; ")
    assert not (tmp_path / "card").exists()


def test_the_shares_of_all_parts_are_the_whole_budget(rehearsal: Rehearsal):
    own = Day.of(rehearsal.folder, "cuda", sizes.CARD, 1.0)
    assert sum(part.most_s for part in own.parts) == WHOLE_S
    assert [part.name for part in own.parts] == ORDER
