"""Words of errors."""

from zo2sim.checks import first_line


def test_an_error_s_first_line_is_the_first_that_says_anything():
    assert first_line(ImportError("\n  it needs timm.\nMore of it.\n")) == "it needs timm."
    assert first_line(ImportError("Install it with pip:\n`pip install timm`.\n")) == (
        "Install it with pip: `pip install timm`."
    )
    assert first_line(KeyError()) == "KeyError"
