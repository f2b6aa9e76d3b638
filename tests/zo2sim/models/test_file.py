"""A model's file: what is written is read again, and nothing else is."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.zo2sim.models.test_config import TINY
from zo2sim.models import presets
from zo2sim.models.config import from_config
from zo2sim.models.file import dump, parse
from zo2sim.models.shapes import Attention, Gemm, Model, Parameter, Unit

MIXED = Model(
    name="mixed",
    family="some_kind",
    hidden=8,
    vocab=16,
    max_positions=32,
    learned=True,
    buffer_elements=3,
    notes=("traced", "an image of 8 x 8"),
    head=Unit(parameters=(Parameter(name="embed.weight", shape=(16, 8)),), elementwise=16),
    blocks=(
        Unit(
            parameters=(
                Parameter(name="encoder.0.w", shape=(8, 8)),
                Parameter(name="norm.weight", shape=()),
            ),
            gemms=(Gemm(n=8, k=8, rows_per_token=0.0, rows_per_sequence=17.0, bias=True),),
            attentions=(Attention(heads=2, kv_heads=1, head_dim=4, queries=17, keys=17),),
            linear_shapes=((8, 8), (8, 8), (4, 8)),
            elementwise_per_sequence=-5,
            elementwise_per_pair=7,
            kernels=9,
            cast_kernels=2,
            kernels_per_token=1.5,
        ),
        Unit(parameters=(Parameter(name="decoder.0.w", shape=(8, 8)),)),
        Unit(parameters=(Parameter(name="decoder.1.w", shape=(8, 8)),)),
    ),
    tail=Unit(borrowed=(Parameter(name="embed.weight", shape=(16, 8)),)),
)


def content(model: Model = MIXED) -> Any:
    return json.loads(dump(model))


def test_what_is_written_is_read_again():
    assert parse(content(), where="file") == MIXED


@pytest.mark.parametrize("case", TINY)
def test_every_family_goes_through_a_file(case: str):
    model = from_config(TINY[case], name=case)
    assert parse(content(model), where="file") == model


def test_scores_that_only_choose_and_keys_made_of_several_go_through_a_file():
    indexer = Attention(heads=2, kv_heads=2, head_dim=8, value_dim=0, fused=False)
    compressed = Attention(heads=2, kv_heads=1, head_dim=8, keys=0, keys_per_token=1.25)
    model = replace(MIXED, tail=replace(MIXED.tail, attentions=(indexer, compressed)))
    assert parse(content(model), where="file") == model
    assert compressed.flops(1, 100) == 4 * 8 * 2 * 100 * 125


def test_blocks_that_are_alike_are_written_once():
    assert [name for name, _ in content()["blocks"]] == ["encoder.0", "decoder.0", "decoder.1"]
    assert [unit for _, unit in content()["blocks"]] == [2, 3, 3]
    assert content()["units"][3] == {"parameters": [[".w", [8, 8]]]}


def test_a_file_is_a_model_s_name(tmp_path: Path):
    path = tmp_path / "mixed.json"
    path.write_text(dump(MIXED))
    assert presets.resolve(str(path)) == MIXED
    assert presets.resolve_config(str(path)) is None


def changed(*path: Any, to: Any) -> Any:
    whole = deepcopy(content())
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return whole


UNIT = ("units", 2)


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("zo2_model",), 2, "zo2_model must be 1, the form that this version reads; got 2"),
        (("hidden",), 0, "hidden must be a whole number from 1 to .* got 0"),
        (("hidden",), True, "hidden must be a whole number .* got True"),
        (("name",), "x" * 1001, "name must be a text of at most 1000 characters"),
        (("notes",), [1], "notes must be texts"),
        (("learned",), 1, "learned must be true or false; got 1"),
        (("head",), 4, "head must be numbers of units, from 0 to 3; got 4"),
        (("head",), -1, "head must be numbers of units, from 0 to 3; got -1"),
        (("blocks",), [["a", 9]], "blocks must be numbers of units"),
        (("blocks",), [["a"]], "blocks must be pairs of a name and the number of a unit"),
        (("blocks",), [["a", 2]] * 10_001, "blocks must be a list of at most 10000"),
        (("blocks",), [], "must have at least 1 block"),
        (("extra",), 1, "must have no field 'extra'"),
        (("units",), [3], r"units\[0\] must be a JSON object; got 3"),
        ((*UNIT, "extra"), 1, r"units\[2\]: must have no field 'extra'"),
        ((*UNIT, "kernels"), 1.5, r"units\[2\]: kernels must be a whole number"),
        ((*UNIT, "kernels_per_token"), float("nan"), "kernels_per_token must be a number from 0"),
        ((*UNIT, "parameters"), [["a", [0]]], "parameters must be pairs of a name and a list of"),
        ((*UNIT, "parameters"), [["a", [1] * 9]], "parameters must be pairs of a name and a list"),
        ((*UNIT, "linear_shapes"), [[1, 1, 10**9]], "linear_shapes must be triples"),
        ((*UNIT, "gemms", 0, "extra"), 1, r"gemms\[0\]: must have no field 'extra'"),
        ((*UNIT, "gemms", 0, "n"), "8", r"units\[2\]: gemms\[0\]: n must be a whole number"),
        ((*UNIT, "gemms", 0, "rows_per_token"), -1, "rows_per_token must be a number from 0 to"),
        ((*UNIT, "attentions", 0, "fused"), 0, "fused must be true or false; got 0"),
        ((*UNIT, "attentions", 0, "window"), 0, "window must be a whole number from 1"),
    ],
)
def test_what_is_no_model_is_refused_by_name(path: tuple[Any, ...], to: Any, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        parse(changed(*path, to=to), where="file")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("anything", [None, [], 3, "zo2_model"])
def test_other_json_is_no_model(anything: object):
    with pytest.raises(ValueError, match="file must be a JSON object"):
        parse(anything, where="file")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(
        ValueError, match=r"large\.json: must be a text of at most 16777216 bytes; it has more"
    ):
        presets.resolve(str(path))


def test_presets_of_other_families_ship_as_files():
    """Parameters as published: DeepSeek-V3's 671 billion, BLOOM's 176 billion, and so on."""
    shipped = {name: presets.resolve(name) for name in presets.traced()}
    assert {name: round(model.elements / 1e9, 1) for name, model in shipped.items()} == {
        "bloom-176b": 176.2,
        "deepseek-v3": 671.0,
        "falcon-7b": 6.9,
        "gemma-3-1b": 1.0,
        "glm-4.5": 352.8,
        "gpt-oss-20b": 20.9,
        "llama-3.1-8b": 8.0,
        "llama-4-scout": 108.2,
        "minimax-m2.5": 228.7,
        "mixtral-8x22b": 140.6,
        "phi-4-mini": 3.8,
        "qwen3-235b-a22b": 235.1,
        "qwen3-30b-a3b": 30.5,
        "qwen3.5-27b": 27.4,
        "roberta-large": 0.4,
    }
    assert all(model.name == name for name, model in shipped.items())
    assert all(model.notes[0].startswith("config.json of ") for model in shipped.values())
    assert {*shipped}.isdisjoint(presets.names())


def test_a_shipped_model_may_be_untied():
    tied, untied = presets.resolve("bloom-176b"), presets.resolve("bloom-176b:untied")
    assert untied.elements - tied.elements == tied.vocab * tied.hidden
    with pytest.raises(ValueError, match=r"glm-4\.5: the embedding must be tied"):
        presets.resolve("glm-4.5:tied")
