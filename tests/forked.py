"""Processes of tests that are forked, from one that has imported and done once what they do.

There is one such server for each process of pytest: what it is told to import is what it is told
first. So all that fork say it here.
"""

import faulthandler
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing.context import ForkServerContext
from typing import ParamSpec, TypeVar

from tests.thorough import THOROUGH

_P = ParamSpec("_P")
_T = TypeVar("_T")
_WARMED = "tests.warmed"
_HANGS_S = 2400.0 if THOROUGH else 240.0
"""Less than pytest's own patience with the test that waits for it."""


@cache
def server() -> ForkServerContext:
    """Starts the process of a function that can be pickled, in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_WARMED])
    return context


def limited() -> None:
    """From now on this process ends after `_HANGS_S`, and says on stderr where it stood."""
    faulthandler.dump_traceback_later(_HANGS_S, exit=True, file=2)


def patient() -> None:
    """From now on it may wait."""
    faulthandler.cancel_dump_traceback_later()


def apart(function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """What a function returns, or the error that it raises, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=server()) as process:
        return process.submit(function, *arguments, **options).result()
