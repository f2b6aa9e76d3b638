"""How many of the project's modules a question passes through on its way to the answer.

    pytest tests/test_module_walk.py

What is counted: modules in which a frame runs, between a command's ``main`` and the return of what
gives its answer, that is handed the question itself: the parsed command, or what it was turned
into on the way (a spec, a case, a space). Frames that only see numbers, names or parts do not
count: they are what the question is answered with, not the way that it goes.
"""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tests import ROOT

PACKAGES = ("zo2sim", "zo2rt", "analysis", "experiments")


@contextmanager
def walked(question: Iterable[type], answer: str) -> Iterator[list[str]]:
    """The modules, in the order in which the question enters them, until ``answer`` returns.

    ``answer`` is a function by its module and name, as in ``zo2sim.predict.predict.predict``.
    """
    kinds, modules, began, done = tuple(question), list[str](), [False], [False]
    roots = tuple(f"{ROOT / package}/" for package in PACKAGES)

    def look(frame: FrameType, event: str, _: Any) -> None:
        code, name = frame.f_code, frame.f_globals.get("__name__", "")
        if done[0] or not code.co_filename.startswith(roots):
            return
        began[0] |= code.co_name == "main"
        is_new = event == "call" and name not in modules
        if began[0] and is_new and _is_handed(frame, kinds):
            modules.append(name)
        if event == "return" and f"{name}.{code.co_qualname}" == answer:
            done[0] = True

    sys.setprofile(look)
    threading.setprofile(look)
    try:
        yield modules
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert done[0], f"{answer} never returned"


def _is_handed(frame: FrameType, kinds: tuple[type, ...]) -> bool:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[:count]
    return any(isinstance(frame.f_locals.get(name), kinds) for name in names)
