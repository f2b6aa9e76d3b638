"""Files of strangers: whatever they hold, a command says one line and ends, or shows it as text."""

import gzip
import json
import pickle
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import plan, run, validate
from experiments.campaign.recorded_run import read_recorded, write_spec
from experiments.cli import Visible, visible
from experiments.folder.write import records, write_records
from tests.commands import call
from tests.tiny_causal import save
from zo2rt.measure.runs import RunSpec
from zo2sim.plan.choices import Plan, Recipe

OPT: dict[str, Any] = {
    "model_type": "opt",
    "hidden_size": 4,
    "ffn_dim": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "vocab_size": 16,
    "max_position_embeddings": 2048,
    "word_embed_proj_dim": 4,
}
DEEP = "[" * 100_000


def described(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(OPT | changes))
    return folder


def recorded(folder: Path, trace: bytes) -> Path:
    write_spec(folder, RunSpec(name="r", config=OPT, plan=Plan(), recipe=Recipe()))
    (folder / "trace.json.gz").write_bytes(trace)
    return folder


def trained(model: Path, tmp_path: Path) -> str:
    """What `run` says of a model that it refuses."""
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "one"}\n{"text": "two"}\n')
    out = ("--out", str(tmp_path / "out"), "--steps", "1", "--no-report")
    return call(run, "--model", str(model), "--data", str(data), *out).complaint


# Traces


EVENT = '{"ph":"X","name":"Fhead","ts":0,"dur":1,"args":{"step":Infinity}}'


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (gzip.compress(b"{}")[:10] + b"\xff" * 40, "decompressing"),
        (gzip.compress(DEEP.encode()), "recursion"),
        (gzip.compress(b"[]"), "list indices"),
        (gzip.compress(b'{"traceEvents":["x"]}'), "string indices"),
        (gzip.compress(f'{{"traceEvents":[{EVENT}]}}'.encode()), "infinity"),
        (gzip.compress(b""), "Expecting value"),
        (b"", "Expecting value"),
    ],
    ids=("packed", "deep", "list", "texts", "infinite", "nothing", "empty"),
)
def test_a_broken_trace_is_one_line(trace: bytes, reason: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"trace\.json\.gz: must be a trace of this run; ") as told:
        read_recorded(recorded(tmp_path, trace))
    assert "\n" not in str(told.value)
    assert reason in str(told.value)


def test_a_trace_that_unpacks_without_end_is_refused(tmp_path: Path):
    bomb = gzip.compress(b" " * (257 << 20), compresslevel=1)
    with pytest.raises(ValueError, match="it unpacks to more than 256 MiB"):
        read_recorded(recorded(tmp_path, bomb))


def test_the_summary_of_an_earlier_validation_is_one_line(tmp_path: Path):
    (tmp_path / "summary.json").write_text(DEEP)
    said = call(validate, "--machine", "this-host", "--measured", str(tmp_path)).complaint
    assert "summary.json: must be JSON; " in said


# Models


def test_layers_without_end_are_refused(tmp_path: Path):
    model = save(tmp_path / "m")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))
    expected = "num_hidden_layers must be at most 10000; got 1000000000"
    assert expected in trained(model, tmp_path)
    assert "from 1 to 10000" in call(plan, "--model", str(model)).complaint


def test_a_shard_outside_of_its_folder_is_refused(tmp_path: Path):
    model = save(tmp_path / "m")
    (model / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    said = trained(model, tmp_path)
    assert said.endswith("a shard must be a file beside it; got '../outside.safetensors'")


def test_weights_that_are_no_weights_are_one_line(tmp_path: Path):
    model = save(tmp_path / "m")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"a": print}))
    assert trained(model, tmp_path).startswith("--model must be 'tiny', a folder that holds a")


def test_a_config_nested_without_end_is_one_line(tmp_path: Path):
    model = save(tmp_path / "m")
    (model / "config.json").write_text(DEEP)
    assert "config.json: must be JSON; " in trained(model, tmp_path)
    assert "must be a readable config.json" in call(plan, "--model", str(model)).complaint


# What is shown


def test_names_with_markup_and_controls_are_text(tmp_path: Path):
    outcome = call(plan, "--model", str(described(tmp_path / "a[red]\x1b[2J\x07")))
    assert outcome.code == 0
    assert "a[red]?[2J" in outcome.out
    assert "\x1b" not in outcome.out
    missing = call(plan, "--model", "no\x1b]0;x\x07model\udcff").complaint
    assert "\x1b" not in missing
    assert visible(missing) == missing


def test_a_terminal_keeps_colours_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    screen = StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    Visible(screen).write("\x1b[31mred\x1b[0m\x1b[2J\r\x00\n\t")
    assert screen.getvalue() == "\x1b[31mred\x1b[0m?[2J??\n\t"
    assert sys.stdout is not screen


def test_a_spreadsheet_takes_no_cell_for_a_formula(tmp_path: Path):
    row = {
        "run_id": "=1+1",
        "config_hash": "-x",
        "metric": "@m",
        "value": -1.5,
        "unit": "+s",
        "provenance": "a=b",
    }
    write_records(tmp_path, records([row]))
    (line,) = (tmp_path / "records.csv").read_text().splitlines()[1:]
    assert line == "'=1+1,'-x,'@m,-1.5,'+s,,,a=b"
    assert pd.read_parquet(tmp_path / "records.parquet")["run_id"].tolist() == ["=1+1"]
