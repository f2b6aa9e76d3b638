"""The notebook of the docs runs, in order, and shows what it is stored with."""

import json
from typing import Any

import pytest

from tests import ROOT
from tests.docs_notebook import run_cells

NOTEBOOK = json.loads((ROOT / "docs" / "fine-tune.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_every_cell_shows_what_is_stored():
    """Losses but for their last digits: they are this processor's."""
    outputs = run_cells(["".join(cell["source"]) for cell in CODE])
    for cell, found in zip(CODE, outputs, strict=True):
        stored = map(said, cell["outputs"])
        expected = [one if isinstance(one, str) else pytest.approx(one, abs=2e-3) for one in stored]
        assert list(map(said, found)) == expected


def said(output: dict[str, Any]) -> str | list[float]:
    """The text of an output, or its numbers."""
    text = "".join(output.get("text") or output["data"]["text/plain"])
    return json.loads(text) if text.startswith("[") else text


def test_cells_are_numbered_as_they_run():
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
