"""Defaults of flags against their types, without the package that the parser would load for it."""

import subprocess
import sys
from enum import StrEnum
from typing import Any

import pytest

from experiments.entry.defaults import TypeCheckError, check_type


class Letter(StrEnum):
    A = "a"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, str | None),
        ("a", str | None),
        (Letter.A, Letter),
        ((), tuple[str, ...]),
        (frozenset[str](), frozenset[str]),
    ],
)
def test_a_value_of_the_type(value: object, kind: Any):
    check_type(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"), [(1, str | None), ("a", Letter), ([], tuple[str, ...]), (None, Letter)]
)
def test_a_value_of_another_type(value: object, kind: Any):
    with pytest.raises(TypeCheckError, match="is no"):
        check_type(value, kind)


def test_a_command_line_is_parsed_without_the_package_and_leaves_nothing_in_its_place():
    words = (
        "import sys\n"
        "from experiments import plan\n"
        "from experiments.entry.arguments import parse\n"
        "parse(plan.Config, ['opt-13b', '--microbatches', '4'])\n"
        "print(sorted({'typeguard', 'asyncio'} & set(sys.modules)))\n"
        "import typeguard\n"
        "print(typeguard.check_type.__module__)"
    )
    out = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["[]", "typeguard"]
