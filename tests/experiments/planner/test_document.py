"""The file: whole, small, and allowed nothing but its own scripts."""

import base64
import gzip
import hashlib
import json
import re

from experiments.planner.document import SCRIPTS, StoredModel, page
from experiments.planner.packed import packed
from tests.experiments.planner.pages import (
    DATE,
    FEW,
    MODELS,
    element,
    small_page,
    small_tables,
)


def policy(text: str) -> str:
    return element(text, 'Content-Security-Policy" content="', '"')


def hashes(text: str, tag: str) -> list[str]:
    bodies = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (hashlib.sha256(body.encode()).digest() for body in bodies)
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def test_the_policy_names_every_script_and_style_and_nothing_else():
    text = small_page()
    scripts, styles = hashes(text, "script"), hashes(text, "style")
    assert (len(scripts), len(styles)) == (2, 1)
    assert policy(text) == (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src {styles[0]}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_a_page_that_is_served_may_ask_its_server():
    assert "connect-src 'self'" in policy(small_page(served=True))


def test_nothing_is_asked_of_a_network():
    text = small_page()
    addresses = re.findall(r"""(?:src|href|url\(|@import)\s*=?\s*["']?(?!data:)[a-z]+:""", text)
    assert addresses == []


def test_the_library_stands_with_its_licence():
    assert "Copyright (c) 2022 Leon Sorokin" in small_page()


def test_names_end_no_script():
    model = StoredModel(content={"name": "</script><b>", "formats": []}, numbers="")
    text = page([], [model], served=False, date=DATE)
    assert "</script><b>" not in text
    stored = json.loads(element(text, 'id="stored">', "</script>"))
    assert stored["models"][0]["name"] == "</script><b>"


def test_all_numbers_of_a_model_are_few_bytes():
    """Fifty models of fifty computers in five megabytes: one may take 1.9 kB of a model."""
    numbers = packed(small_tables())
    assert len(numbers) < 1900 * len(FEW)
    whole = gzip.decompress(base64.b64decode(numbers))
    tables = small_tables()
    steps = sum(table.lower_s.size for table in tables) * (3 + 1 + 2)
    memory = sum(table.memory.size + table.least.size for table in tables) * 8
    assert len(whole) == steps + memory + sum(table.limits_s.size for table in tables) * 4


def test_the_same_input_gives_the_same_bytes():
    assert packed(small_tables()) == packed(small_tables())


def test_scripts_are_small():
    text = small_page()
    stored = json.loads(element(text, 'id="stored">', "</script>"))
    assert [model["name"] for model in stored["models"]] == [MODELS[0]]
    assert len(SCRIPTS) == len(set(SCRIPTS))
