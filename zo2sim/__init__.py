"""Predicts zeroth-order fine-tuning that streams a model through a device; never imports torch.

`policies` makes a `schedule` from a model's shape and a plan, `simulate` runs it at the prices of
`cost`, `memory` says what it needs, `predict` puts these together, `search` finds the best plan.

Three questions in one call each, with the answers of the commands: ``zo2sim.predict("opt-13b",
"rtx-4090-24gb")``, ``zo2sim.tune``, ``zo2sim.verify`` (`zo2sim.facade`, loaded when it is asked).
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from zo2sim import predict as _predict

__version__ = "0.2.0"

_ASKED = ("tune", "verify")
_FACADE = "zo2sim.facade"


class _Asked(ModuleType):
    """The room `zo2sim.predict` answers its question, too, as `zo2sim.facade.predict`."""

    def __call__(self, *words: Any, **choices: Any) -> Any:
        return import_module(_FACADE).predict(*words, **choices)


_predict.__class__ = _Asked  # pyright: ignore[reportFunctionMemberAccess]


def __getattr__(name: str) -> Any:
    if name in _ASKED:
        return getattr(import_module(_FACADE), name)
    raise AttributeError(f"module 'zo2sim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*globals(), *_ASKED))
