"""What the commands that answer leave behind with --out, and a paper of all of them."""

import gzip
import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from analysis.report.document import TRACE, TableBlock
from analysis.report.document_file import load
from experiments import baseline, report, reproduce, scale, sensitivity, tune
from experiments.folder.write import RECORD_COLUMNS
from tests.browser import executable, visit
from tests.commands import call

SMALL = ("--model", "opt-125m", "--machine", "rtx-4090-24gb")
FEW = (*SMALL, "--axis", "resident-blocks=0,4", "--axis", "tier=ram", "--simulations", "4")
COMMANDS: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "tune": (tune, FEW),
    "sensitivity": (sensitivity, (*SMALL, "--policy", "resident")),
    "scale": (scale, (*SMALL, "--workers", "1,100")),
    "reproduce": (reproduce, ()),
    "baseline": (baseline, (*SMALL, "--method", "zero_offload")),
}
FIGURES = {
    "tune": {"front.svg", "timeline.svg"},
    "sensitivity": {"tornado.svg"},
    "scale": {"scale.svg"},
    "reproduce": {"claims.svg"},
    "baseline": {"timeline.svg"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per command."""
    pytest.importorskip("typst")
    root = tmp_path_factory.mktemp("answers")
    for verb, (command, flags) in COMMANDS.items():
        assert call(command, *flags, "--out", str(root / verb), "--json", "-").code == 0
    return root


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_folder_is_whole(folders: Path, verb: str):
    folder = folders / verb
    names = {path.name for path in folder.iterdir()} - {TRACE}
    assert names == {
        *("run.json", "config.json", "summary.json", "records.parquet", "records.csv"),
        *("figures", "report.json", "report.pdf", "report.html"),
    }
    assert {path.name for path in (folder / "figures").iterdir()} == FIGURES[verb]
    assert json.loads((folder / "run.json").read_text())["verb"] == verb
    table = pd.read_parquet(folder / "records.parquet")
    assert tuple(table.columns[: len(RECORD_COLUMNS)]) == RECORD_COLUMNS
    assert not table["value"].isna().to_numpy().any()
    assert "out" not in json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("verb", ["tune", "baseline"])
def test_the_trace_opens_in_perfetto(folders: Path, verb: str):
    trace = json.loads(gzip.decompress((folders / verb / TRACE).read_bytes()))
    assert {event["ph"] for event in trace["traceEvents"]} >= {"X", "M"}


def test_records_hold_what_the_summary_says(folders: Path):
    summary = json.loads((folders / "tune" / "summary.json").read_text())
    table = pd.read_parquet(folders / "tune" / "records.parquet")
    steps = table.loc[table["metric"] == "step_s", "value"].tolist()
    assert steps == [point["step_s"] for point in summary["pareto"]]
    summary = json.loads((folders / "baseline" / "summary.json").read_text())
    table = pd.read_parquet(folders / "baseline" / "records.parquet").set_index("metric")
    assert table.loc["step_s", "value"] == summary["step_s"]


def test_the_report_on_claims_has_every_value_and_every_reason(folders: Path):
    rows = reproduce.reproduce()
    document = load((folders / "reproduce" / "report.json").read_text(), where="reproduce")
    table = next(block for block in document.numbered if block.key == "claim-values")
    assert isinstance(table, TableBlock)
    assert [(row[0], row[-1].split(",")[0]) for row in table.rows] == [
        (row.claim, "agrees" if row.agrees else "disagrees") for row in rows
    ]
    assert sum(row[-1] == "agrees, fitted" and row[-2].endswith("%") for row in table.rows) == 10
    (reasons,) = (s for s in document.sections if s.title == "Where they disagree")
    assert len(reasons.blocks) == sum(not row.agrees for row in rows)


def test_all_of_them_become_one_paper(folders: Path):
    paper = folders / "paper"
    runs = [str(folders / verb) for verb in COMMANDS]
    found = call(report, *runs, "--out", str(paper), "--json", "-").json
    assert [run["verb"] for run in found["runs"]] == list(COMMANDS)
    assert (paper / "report.pdf").read_bytes()[:5] == b"%PDF-"
    if executable() is not None:
        seen = visit(paper / "report.html")
        assert (seen.errors, seen.requests) == ((), ())
