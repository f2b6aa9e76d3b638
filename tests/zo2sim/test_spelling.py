"""Names as people write them: one reading is taken, several are listed, a path is none."""

from pathlib import Path

import pytest

from zo2sim.machines import file as machines
from zo2sim.models import presets
from zo2sim.spelling import either, readings, suggestion

CARDS = ("rtx-4090-24gb", "rtx-4090-24gb-desktop", "a10-24gb", "a100-40gb", "a100-80gb")
MODELS = ("opt-1.3b", "opt-13b", "llama-3-8b", "llama-3.1-8b")


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("RTX_4090 24GB", CARDS, ("rtx-4090-24gb",)),
        ("NVIDIA GeForce RTX 4090 24GB", CARDS, ("rtx-4090-24gb",)),
        ("rtx4090-24gb-desktop", CARDS, ("rtx-4090-24gb-desktop",)),
        ("4090", CARDS, ("rtx-4090-24gb", "rtx-4090-24gb-desktop")),
        ("a10", CARDS, ("a10-24gb",)),
        ("A100", CARDS, ("a100-40gb", "a100-80gb")),
        ("a100 80GB", CARDS, ("a100-80gb",)),
        ("A100 80 gb", CARDS, ("a100-80gb",)),
        ("4060ti", ("rtx-4060-ti-16gb",), ("rtx-4060-ti-16gb",)),
        ("8x7b", ("mixtral-8x7b", "mistral-7b"), ("mixtral-8x7b",)),
        ("OPT13B", MODELS, ("opt-13b",)),
        ("opt 1.3B", MODELS, ("opt-1.3b",)),
        ("llama3-8b", MODELS, ("llama-3-8b",)),
        ("opt-3b", MODELS, ()),
        ("b200", CARDS, ()),
        ("nvidia", CARDS, ()),
        ("", CARDS, ()),
        ("./a10", CARDS, ()),
        ("/models/a10-24gb", CARDS, ()),
        ("a10.toml", CARDS, ()),
        ("a10" * 1000, CARDS, ()),
    ],
)
def test_a_text_stands_for_the_names_that_have_its_parts(
    text: str, names: tuple[str, ...], found: tuple[str, ...]
):
    assert readings(text, names) == found


def test_no_part_of_a_number_is_a_part():
    assert readings("3b", MODELS) == ()
    assert readings("1", MODELS) == ()


def test_an_error_names_what_may_be_meant_or_what_is_close():
    assert suggestion("4090", CARDS) == "; did you mean rtx-4090-24gb or rtx-4090-24gb-desktop?"
    assert suggestion("opt-14b", MODELS) == "; did you mean opt-13b or opt-1.3b?"
    assert suggestion("zzz", MODELS) == ""
    many = tuple(f"opt-{n}b" for n in range(1, 10))
    assert suggestion("opt", many).endswith("opt-5b or opt-6b (and 3 more)?")


def test_words_are_joined_by_or():
    assert [either("a"), either("ab"), either("abc")] == ["a", "a or b", "a, b or c"]


@pytest.mark.parametrize("name", [*machines.names(), *presets.names()])
def test_no_name_of_ours_is_taken_for_another_one(name: str):
    names = machines.names() if name in machines.names() else presets.names()
    assert readings(name.upper(), names) == (name,)


def test_a_file_comes_before_a_name_that_is_only_like_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert machines.resolve("L40S 48GB").name == "l40s-48gb"
    mine = machines.dump(machines.named("l40s-48gb")).replace('name = "l40s', 'name = "mine', 1)
    Path("L40S 48GB").write_text(mine)
    assert machines.resolve("L40S 48GB").name == "mine-48gb"


def test_an_id_is_spelled_in_any_case():
    assert presets.resolve("FACEBOOK/opt-13B:untied") == presets.preset("opt-13b", tied=False)
    assert presets.resolve_config("Opt 13B") == presets.config("opt-13b")
