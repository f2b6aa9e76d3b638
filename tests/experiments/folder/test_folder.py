"""A run's folder: one call writes all of it, the same bytes every time, and words come back."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.plots.sweep.both_ways import both_ways
from analysis.report.document import TRACE, Document, TableBlock
from analysis.report.document_file import dump, load
from analysis.report.trust import TOPICS, trust_section
from experiments.folder.write import RECORD_COLUMNS, Run, records, write_run
from tests.strategies import documents
from tests.sweep_table import sweep_table
from tests.thorough import examples

NUMBER = {
    "run_id": "r",
    "config_hash": "c",
    "metric": "step_s",
    "value": 1.5,
    "unit": "s",
    "provenance": "measured",
    "model": "opt-125m",
}
SQUARE = '<svg width="9pt"/>'
BINDS = NUMBER | {"metric": "binding_resource", "value": None, "text": "compute"}


def run() -> Run:
    return Run(
        verb="tune",
        config={"model": "opt-125m"},
        summary={"best": {"step_s": 1.5, "fits": True}, "pareto": [1, 2], "gap": None},
        provenance={"commit": "0123abc"},
        records=records([NUMBER, BINDS]),
        figures={"both-ways": both_ways(sweep_table())},
        traces={TRACE: '{"traceEvents":[]}', "measured.json.gz": "{}"},
    )


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_one_call_writes_everything_and_again_the_same_bytes(tmp_path: Path):
    pytest.importorskip("typst")
    for name in ("a", "b"):
        write_run(tmp_path / name, run())
    found = contents(tmp_path / "a")
    assert found == contents(tmp_path / "b")
    assert sorted(found) == [
        *("config.json", "figures/both-ways.svg", "measured.json.gz", "records.csv"),
        *("records.parquet", "report.html", "report.json", "report.pdf", "run.json"),
        *("summary.json", "trace.json.gz"),
    ]
    assert json.loads(found["run.json"])["verb"] == "tune"
    assert gzip.decompress(found["trace.json.gz"]) == b'{"traceEvents":[]}'
    assert found["report.html"].count(b'href="data:application/gzip;base64,') == 2


def test_a_run_without_words_lists_its_numbers_and_figures():
    shown = run().shown({"both-ways": SQUARE})
    (table,) = (block for block in shown.blocks if isinstance(block, TableBlock))
    assert table.rows == (
        *(("best.step s", "1.50"), ("best.fits", "yes")),
        *(("pareto", "2 entries"), ("gap", "\u2013")),
    )
    assert shown.figure_keys == ("both-ways",)


def test_a_run_with_words_keeps_them():
    document = Document(title="mine", abstract=("said",), sections=())
    trust = trust_section({"it": dict.fromkeys(TOPICS, "as assumed")})
    trusted = replace(document, sections=(trust,))
    assert replace(run(), document=trusted).shown({}) == trusted
    with pytest.raises(ValueError, match="the report of tune must say how far to trust it"):
        replace(run(), document=document)


def test_without_typesetting_there_is_still_what_a_paper_takes(tmp_path: Path):
    write_run(tmp_path, run(), typeset=False)
    assert not {"report.pdf", "report.html"} & set(contents(tmp_path))
    assert load((tmp_path / "report.json").read_text(), where="x") == run().shown(
        {"both-ways": SQUARE}
    )


def test_records_have_the_same_columns_first_whatever_was_given():
    table = records([NUMBER, BINDS])
    assert tuple(table.columns) == (*RECORD_COLUMNS, "model", "text")
    assert [str(table[name].dtype) for name in ("value", "low", "high")] == ["float64"] * 3
    assert table["value"].tolist()[0] == 1.5
    assert all(table["low"].isna())


def test_records_without_a_unit_are_refused():
    table = pd.DataFrame([NUMBER]).drop(columns=["unit"])
    with pytest.raises(ValueError, match=r"records of tune must have .*; missing: unit, low, high"):
        replace(run(), records=table)


@pytest.mark.parametrize("name", ["trace.json", "../trace.json.gz", "a/b.json.gz"])
def test_a_trace_has_a_name_of_its_own_folder(name: str):
    with pytest.raises(ValueError, match=r"must be called NAME\.json\.gz; got"):
        replace(run(), traces={name: "{}"})


@settings(max_examples=examples(60), deadline=None)
@given(documents())
def test_a_document_comes_back_from_its_file(document: Document):
    assert load(dump(document), where="x") == document


@settings(max_examples=examples(60), deadline=None)
@example("[]")
@example('{"schema": 1}')
@example('{"schema": 2, "title": ""}')
@given(st.text(max_size=20))
def test_what_is_no_document_is_said_to_be_none(text: str):
    with pytest.raises(ValueError, match=r"^runs/x: must hold a document; "):
        load(text, where="runs/x")
