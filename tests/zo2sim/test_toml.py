"""TOML: what is written reads back the same, and a text is cut where its tables begin."""

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zo2sim.dtypes import Dtype
from zo2sim.toml import headed, parse, table

NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(items=st.dictionaries(TEXT, VALUES, max_size=4))
def test_a_table_reads_back_as_it_was(items: dict[str, object]):
    assert tomllib.loads(table("t", items)) == {"t": items}


def test_a_table_is_written_as_people_write_it():
    items = {
        "name": 'a "b"',
        "on": True,
        "size": 3,
        "rate": 2.5e10,
        "ends": (1.0, math.inf),
        "dtype": Dtype.FP16,
        "left_out": None,
        "of it": {"value": 1, "low": None},
    }
    assert table("device", items).splitlines() == [
        "[device]",
        r'name = "a \"b\""',
        "on = true",
        "size = 3",
        "rate = 25000000000.0",
        "ends = [1.0, inf]",
        'dtype = "fp16"',
        '"of it" = { value = 1 }',
    ]


def test_a_text_is_cut_before_every_header():
    first = '# mine\na = """\n[no]\n"""\nb = [\n  [1],\n]\n'
    second, third = "[x] # yes\nc = '[no]'\n", "  [[y]]\n"
    assert headed(first + second + third) == [first, second, third]


@pytest.mark.parametrize("text", ["[", "a = " + "[" * 5000, "a = 9" + "9" * 5000, "\x00"])
def test_what_is_no_toml_is_one_line(text: str):
    with pytest.raises(ValueError, match=r"^this must be TOML; [^\n]+$"):
        parse(text, must="this must be TOML")
