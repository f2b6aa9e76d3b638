"""Completion of command lines: a script for bash, which zsh takes too (`bashcompinit`).

It holds all commands with their flags, and the names of models and machines, as they are today.
"""

import contextlib
import importlib
import io
import re
from collections.abc import Iterable

from experiments.entry.verbs import VERBS
from zo2sim.machines.file import names as machines
from zo2sim.models.presets import every as models

_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_SCRIPT = """\
_zo2sim() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
    case $before in
        --model) words="{models}" ;;
        --machine) words="{machines} all" ;;
        zo2sim|help) [ "$COMP_CWORD" -le 2 ] && words="{verbs}" ;;
    esac
    [ -n "$words" ] || case ${{COMP_WORDS[1]}} in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _zo2sim zo2sim
"""


def script() -> str:
    """The script, for a process that does nothing else: `unloaded` must have been asked for."""
    cases = (f'        {verb}) words="{_joined(_flags(verb))}" ;;' for verb in VERBS)
    return _SCRIPT.format(
        models=_joined(models()),
        machines=_joined(machines()),
        verbs=_joined((*VERBS, "help", "completion")),
        cases="\n".join(cases),
    )


def _flags(verb: str) -> list[str]:
    """The flags that the help text of a command has."""
    module = importlib.import_module(f"experiments.{verb}")
    cli, text = importlib.import_module("experiments.cli"), io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        cli.run(module.main, module.Config, ["--help"])
    lines = re.findall(r"^\W*(--[a-z-]+|-h, --help)", text.getvalue(), re.MULTILINE)
    return sorted({flag for line in lines for flag in _FLAG.findall(line)})


def _joined(words: Iterable[str]) -> str:
    return " ".join(words)
