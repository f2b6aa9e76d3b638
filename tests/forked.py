"""Processes of tests that are forked, from one that has imported and done once what they do.

There is one such server for each process of pytest: what it is told to import is what it is told
first. So all that fork say it here.
"""

import multiprocessing
from functools import cache
from multiprocessing.context import ForkServerContext

_WARMED = "tests.warmed"


@cache
def server() -> ForkServerContext:
    """Starts the process of a function that can be pickled, in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_WARMED])
    return context
