"""`plan` of a model that no reader knows: traced once, written to a file, and read again."""

import json
from pathlib import Path

import pytest

from experiments import plan
from tests.commands import call
from tests.zo2rt.tracing.configs import CONFIGS, real
from zo2sim.models import presets
from zo2sim.search import largest


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "deep.json"
    path.write_text(json.dumps(CONFIGS["deepseek"]))
    return str(path)


def test_a_traced_model_is_planned_and_says_where_it_comes_from(config: str):
    found = call(plan, "--model", config, "--json", "-").json
    assert found["parameters"] == sum(p.numel() for p in real("deepseek").parameters())
    assert found["forward_flops"] > 2 * found["parameters"]
    assert found["provenance"]["model"].startswith("DeepseekV3ForCausalLM of transformers ")


def test_a_written_model_gives_the_same_answer(config: str, tmp_path: Path):
    written = str(tmp_path / "written.json")
    traced = call(plan, "--model", config, "--write-model", written, "--json", "-")
    again = call(plan, "--model", written, "--json", "-")
    assert again == traced
    assert "transformers" in Path(written).read_text()


def test_a_preset_is_written_as_well(tmp_path: Path):
    written = tmp_path / "opt.json"
    assert call(plan, "--model", "opt-125m", "--write-model", str(written)).code == 0
    assert presets.resolve(str(written)) == presets.preset("opt-125m")


def test_a_traced_model_may_be_made_deeper(config: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(largest, "DEEPEST", 16)
    asked = ("--model", config, "--machine", "rtx-4090-24gb", "--largest-model")
    found = call(plan, *asked, "--json", "-").json["largest_model"]
    assert (found["deepest"]["blocks"], found["deepest"]["fails_at_blocks"]) == (16, None)
    assert found["widest"] is None


def test_a_sequence_that_nobody_chose_fits_the_positions(tmp_path: Path):
    path = tmp_path / "bert.json"
    path.write_text(json.dumps(CONFIGS["bert"]))
    found = call(plan, "--model", str(path), "--json", "-").json
    assert found["tokens_per_s"] == pytest.approx(512 / found["step_s"])
    chosen = call(plan, "--model", str(path), "--sequence", "513")
    assert "sequence must be at most 512 for bert" in chosen.complaint


def test_an_unknown_model_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "mystery", "auto_map": {"AutoConfig": "code.Config"}}')
    outcome = call(plan, "--model", str(path))
    assert outcome.code == 2
    assert "code that comes with a model (auto_map) is never run here" in outcome.complaint


def test_nothing_is_written_where_a_question_is_asked_backwards(config: str, tmp_path: Path):
    asked = ("--write-model", str(tmp_path / "m.json"), "--largest-model")
    assert "--write-model" in call(plan, "--model", config, *asked).complaint
