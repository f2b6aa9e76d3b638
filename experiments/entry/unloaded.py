"""Stand-ins for packages that take seconds to load, while a help text is made.

A command's module imports what its work needs, and a help text shows its flags alone. So where a
help text is asked for, and in that process only, `torch` and the like are modules of which
everything is an empty class: one that can be derived from, called, subscripted, and used as a
decorator. Nothing of the kind is ever computed with.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HEAVY = (
    *("torch", "transformers", "safetensors", "numba", "triton", "pynvml", "psutil"),
    *("pandas", "pyarrow", "matplotlib", "scipy"),
)
"""Packages of which no flag has its type or its default."""


def _nothing(*_: Any) -> Any:
    return Nothing


class _Anything(type):
    """A class of which every name is a class like it, and every sum and product."""

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _nothing
    __truediv__ = __rtruediv__ = __pow__ = __neg__ = _nothing

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name != "__get__":
            raise AttributeError(name)
        return Nothing

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


class Nothing(metaclass=_Anything):
    """What a stand-in has for every name."""

    def __new__(cls, *words: Any, **_: Any) -> Any:
        """As a decorator it returns what it decorates."""
        only = words[0] if len(words) == 1 else None
        return only if callable(only) else super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __init_subclass__(cls, **_: Any) -> None:
        pass

    def __class_getitem__(cls, _: Any) -> Any:
        return cls

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing

    def __call__(self, *words: Any, **_: Any) -> Any:
        return words[0] if len(words) == 1 and callable(words[0]) else self


class _Module(ModuleType):
    """A package of which everything can be imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class _Finder:
    """Finds stand-ins, and makes them."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name.partition(".")[0] not in HEAVY:
            return None
        return ModuleSpec(name, self, is_package=True)  # pyright: ignore

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether a help text is all that is wanted."""
    return not {"-h", "--help"}.isdisjoint(words)


def keep_unloaded() -> None:
    """From here on the heavy packages are stand-ins: this process makes a help text, and ends."""
    sys.meta_path.insert(0, _Finder())  # pyright: ignore
