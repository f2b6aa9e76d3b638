"""The notebook of the docs runs, in order, and shows what it is stored with."""

import json

import pytest

from tests import ROOT
from tests.docs_notebook import run_cells

NOTEBOOK = json.loads((ROOT / "docs" / "fine-tune.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_every_cell_shows_what_is_stored():
    """Losses but for their last digits: they are this processor's."""
    outputs = run_cells(["".join(cell["source"]) for cell in CODE])
    for cell, found in zip(CODE, outputs, strict=True):
        assert list(map(plain, found)) == [plain(output) for output in cell["outputs"]]


def plain(output):
    """The text of an output, or its numbers."""
    text = "".join(output.get("text") or output["data"]["text/plain"])
    numbers = json.loads(text) if text.startswith("[") else None
    return text if numbers is None else pytest.approx(numbers, abs=2e-3)


def test_cells_are_numbered_as_they_run():
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
