"""Learned positions end a sequence; rotary ones go on, and it is told what nothing was made for."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from experiments import baseline, plan, sensitivity, sweep, tune
from tests.commands import call

LIMIT = (
    "sequence must be at most 2048 for opt-125m, whose positions are learned one by one; got 4096"
)


@pytest.mark.parametrize("command", [plan, tune, sensitivity, baseline])
def test_learned_positions_end(command: ModuleType):
    outcome = call(command, "--model", "opt-125m", "--sequence", "4096")
    assert outcome.code == 2
    assert LIMIT in outcome.complaint


def test_of_all_machines_none_is_blamed_for_it():
    outcome = call(plan, "--model", "opt-125m", "--sequence", "4096", "--machine", "all")
    assert outcome.code == 2
    assert outcome.complaint.count(LIMIT) == 1


def test_they_end_in_a_sweep_too(tmp_path: Path):
    grid = ("--preset", "none", "--model", "opt-125m", "--axis", "sequence=1024,4096")
    outcome = call(sweep, *grid, "--jobs", "1", "--no-report", "--out", str(tmp_path / "s"))
    assert outcome.code == 2
    assert LIMIT in outcome.err


def test_the_last_one_counts():
    assert call(plan, "--model", "opt-125m", "--sequence", "2048").code == 0


def test_rotary_positions_go_on_and_are_told(tmp_path: Path):
    config = {
        **{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 99},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 1024},
    }
    file = tmp_path / "short.json"
    file.write_text(json.dumps(config))
    said = "sequence 2048 (the model was made for 1024 positions)"
    found = call(plan, "--model", str(file), "--sequence", "2048", "--json", "-").json
    assert said in found["extrapolated"]
    known = call(plan, "--model", str(file), "--sequence", "1024", "--json", "-").json
    assert not any("positions" in text for text in known["extrapolated"])


def test_a_traced_model_says_for_how_many_it_was_made_in_its_own_word(tmp_path: Path):
    config = {"model_type": "mpt", "d_model": 64, "n_heads": 4, "n_layers": 2, "vocab_size": 99}
    file = tmp_path / "mpt.json"
    file.write_text(json.dumps({**config, "max_seq_len": 512}))
    found = call(plan, "--model", str(file), "--sequence", "1024", "--json", "-").json
    assert "sequence 1024 (the model was made for 512 positions)" in found["extrapolated"]


def test_the_largest_model_is_one_that_reads_so_much():
    words = ("--policy", "resident", "--model", "llama-3-8b", "--largest-model")
    found = call(plan, *words, "--sequence", "4096", "--json", "-").json["largest_model"]
    assert {"gpt2", "opt-125m"} <= {*found["too_few_positions"]}
    assert "opt-125m" not in found["presets"]
