"""Whether a default is of its flag's type, as the parser asks for every one of them.

It asks `typeguard`, which takes a tenth of a prediction's time to load, with `unittest.mock` and
`asyncio`, and looks into what a container holds. Here the container is enough: defaults are this
project's own, and pyright has checked them.
"""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType, NoneType, UnionType
from typing import Any, get_args, get_origin

_NAME = "typeguard"


class TypeCheckError(Exception):
    """A value is not of a type."""


def check_type(value: object, kind: Any) -> None:
    """Raise `TypeCheckError` unless ``value`` is of the class, or of one of the union's."""
    members = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    classes = tuple(NoneType if m is None else get_origin(m) or m for m in members)
    if not isinstance(value, classes):
        raise TypeCheckError(f"{value!r} is no {kind}")


@contextlib.contextmanager
def checked_quickly() -> Iterator[None]:
    """Let the parser ask here, where nobody has loaded the other one."""
    if _NAME in sys.modules:
        yield
        return
    module = ModuleType(_NAME)
    module.__dict__.update(check_type=check_type, TypeCheckError=TypeCheckError)
    sys.modules[_NAME] = module
    try:
        yield
    finally:
        del sys.modules[_NAME]
