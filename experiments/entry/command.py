"""The script `zo2sim`: `zo2sim plan opt-13b` is `python -m experiments.plan --model opt-13b`.

As a script it never has the folder it is called in among those that it imports from, so a folder
with an `experiments` of its own does no harm.
"""

import gc
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from experiments.entry.loading import loading
from experiments.entry.unloaded import asks_for_help, keep_unloaded
from experiments.entry.verbs import GROUPS, VERBS
from zo2sim import __version__
from zo2sim.spelling import suggestion

_HELP = ("-h", "--help")
_USAGE = 2
_OBJECTS = 200_000
"""New ones after which cycles are looked for: a simulation leaves few, and to look after every 700
takes a tenth of a search, after every 50,000 a twentieth of a plan."""
_EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(
        ("torch", "numba", "safetensors", "transformers", "accelerate", "peft", "psutil"), "rt"
    ),
    **dict.fromkeys(("typst", "jinja2", "markupsafe"), "report"),
}
"""By package, the extra of this one that brings it."""


def script() -> NoReturn:
    """What is installed as `zo2sim`. An answer on the screen needs no interpreter that frees object
    by object before it ends, which takes a tenth of a plan's time."""
    code = main()
    if sys.argv[1:2] == ["plan"]:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names, and return its exit code."""
    words = sys.argv[1:] if argv is None else [*argv]
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words or words[0] in _HELP:
        return _say(_overview())
    if words[0] in ("--version", "-V"):
        return _say(f"zo2sim {__version__}")
    if words[0] == "completion":
        keep_unloaded()
        return _say(importlib.import_module("experiments.entry.completion").script().rstrip("\n"))
    verb, rest = words[0].replace("-", "_"), words[1:]
    if verb not in VERBS:
        hint = suggestion(words[0], tuple(VERBS))
        return _fail(f"no command is called {words[0]!r}{hint}; zo2sim help lists them")
    return _run(verb, rest)


def _run(verb: str, words: list[str]) -> int:
    if asks_for_help(words):
        keep_unloaded()
    try:
        with loading():
            module = importlib.import_module(f"experiments.{verb}")
            cli = importlib.import_module("experiments.cli")
    except ModuleNotFoundError as error:
        if (extra := _EXTRAS.get(str(error.name).partition(".")[0])) is None:
            raise
        return _fail(f"zo2sim {verb} needs {error.name}: pip install 'zo2sim[{extra}]'")
    gc.set_threshold(_OBJECTS)
    return cli.run(module.main, module.Config, words, prog=f"zo2sim {verb}")


def _say(text: str) -> int:
    """Who reads, as ``head`` does, may stop before the end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return _USAGE


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    lines = ["usage: zo2sim COMMAND [FLAGS]; zo2sim help COMMAND lists its flags", ""]
    for title, verbs in GROUPS.items():
        lines += [title, *(f"  {verb:{width}}{words}" for verb, words in verbs.items()), ""]
    lines.append("First: zo2sim plan opt-13b rtx-4090-24gb")
    lines.append("For completion in bash: source <(zo2sim completion)")
    return "\n".join(lines)


if __name__ == "__main__":
    script()
