"""Which lines inside a module's functions run: the standard library's tracing, nothing else."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any


def lines_of(module: ModuleType) -> set[int]:
    """Lines of every function's body; the module's and the classes' own lines run on import."""
    path = module.__file__
    assert path is not None
    whole = compile(Path(path).read_text(encoding="utf-8"), path, "exec")
    return {line for code in _functions(whole) for line in _body(code)}


def _functions(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & 0x2:  # CO_NEWLOCALS: a function, not a class body
                yield inner
            yield from _functions(inner)


def _body(code: CodeType) -> set[int]:
    lines = {line for _, _, line in code.co_lines() if line is not None}
    return lines - {code.co_firstlineno} if len(lines) > 1 else lines


def lines_run(module: ModuleType, run: Callable[[], None]) -> set[int]:
    """Lines of the module that ``run`` executes, on any thread that it starts."""
    seen = set[int]()

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        seen.add(frame.f_lineno)
        return on_line

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return (
            on_line(frame, event, argument) if frame.f_code.co_filename == module.__file__ else None
        )

    before, before_threads = sys.gettrace(), threading.gettrace()
    threading.settrace(on_call)
    sys.settrace(on_call)
    try:
        run()
    finally:
        sys.settrace(before)
        threading.settrace(before_threads)  # type: ignore[arg-type]
    return seen
