"""What every command shares: parsing, one-line errors, answers with exit codes, whole files.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the answer is no.
"""

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar, cast

from experiments.entry.arguments import parse
from zo2sim.checks import shown
from zo2sim.memory.account import DoesNotFit
from zo2sim.writing import writing

DONE, FAILED, USAGE, NO = 0, 1, 2, 3

C = TypeVar("C")

MARK = "run.json"
"""Every run's folder has it, from its beginning: which command writes there."""
_PARTIAL = ".partial"  # of temporary names
_UNMARKED = (_PARTIAL, "answers.jsonl", ".lock")
"""What a kill may leave alone: temporary names, and answers, to which a sweep only adds."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BUT_COLOURS = re.compile(rf"(?!\x1b\[[0-9;]*m){_CONTROL.pattern}")


def run(
    main: Callable[[C], int],
    config: Callable[..., C],
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
) -> int:
    """Parse arguments, run a command, and turn its errors into one line and an exit code.

    ``prog`` is what usage lines show of the command; otherwise it is what was typed.
    """
    try:
        settings = parse(config, argv, prog=prog)
        _check_out(getattr(settings, "out", None))
        with contextlib.redirect_stdout(cast(IO[str], Visible(sys.stdout))):
            code = main(settings)
        sys.stdout.flush()
        return code
    except DoesNotFit as error:
        return _fail(str(error), NO)
    except ValueError as error:
        return _fail(str(error), USAGE)
    except OverflowError:
        return _fail("numbers must stay below 1e308; some product of the given ones is not", USAGE)
    except RecursionError:
        return _fail("files must not be nested so deeply that no parser reads them", USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", FAILED)
    finally:
        if argv is None:
            _be_deaf()


def _be_deaf() -> None:
    """The answer stands: Ctrl-C while the interpreter goes down would print a traceback with it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Visible:
    """A stream on which no name moves the cursor or hides: control characters become '?'.

    Colours are left to a terminal.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(visible(text, colours=self._stream.isatty()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def visible(text: str, *, colours: bool = False) -> str:
    """Text with '?' for every control character but tab and newline, and for what is none."""
    return (_BUT_COLOURS if colours else _CONTROL).sub("?", text)


def claim(out: Path, verb: str) -> None:
    """Mark a folder as a run's, before anything else is written there; `run` refuses all others.

    Nothing happens where it is marked.
    """
    if not (out / MARK).exists():
        write_json(str(out / MARK), {"verb": verb, "provenance": {}})


def _check_out(out: object) -> None:
    """Raise ``ValueError`` where ``out`` is a folder with files that no run wrote."""
    if not isinstance(out, Path) or not out.is_dir() or (out / MARK).is_file():
        return
    names = sorted(path.name for path in out.iterdir())
    strange = [name for name in names if not name.endswith(_UNMARKED)]
    if strange:
        raise ValueError(
            f"--out must name a run's folder, or one that is empty or not there; {out} holds "
            f"{strange[0]} and no {MARK}, so no run wrote it, and its files might be overwritten"
        )


@dataclass(frozen=True)
class Answer:
    """What a command found: ``content`` for ``--json``, and what ``show`` prints for a person.

    ``yes`` is False where the answer is no; ``complaints`` are lines for stderr that say why.
    """

    content: Mapping[str, Any]
    show: Callable[[], object]
    yes: bool = True
    complaints: Sequence[str] = ()


def finish(answer: Answer, json_target: str | None) -> int:
    """Give the answer as JSON where that was asked for, and in words unless JSON takes stdout."""
    if json_target is not None:
        write_json(json_target, answer.content)
    if json_target != "-":
        answer.show()
    for complaint in answer.complaints:
        print(f"error: {complaint}", file=sys.stderr)
    return DONE if answer.yes and not answer.complaints else NO


def write_json(target: str, content: Mapping[str, Any]) -> None:
    """Write versioned JSON to a file, or to stdout for ``-``; never a half-written file."""
    text = json.dumps({"schema": 1, **content}, indent=2, allow_nan=False) + "\n"
    if not target:
        raise ValueError("--json must name a file, or be - for stdout; got an empty name")
    if target == "-":
        sys.stdout.write(text)
    else:
        write_file(Path(target), text.encode())


def json_object(text: str, *, where: str) -> dict[str, Any]:
    """The object that a text holds. Raises ``ValueError`` that says where there is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: must be JSON; {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where}: must be a JSON object; got {shown(content)}")
    return content


def write_file(path: Path, content: bytes) -> None:
    """Write a file, which is whole or absent."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name near ``path``: the file or folder made there becomes ``path`` at the end.

    It lies in a folder that is made for this writer alone: no other writes into it, and nothing
    planted beside ``path`` is followed. It is removed where that fails. Nothing is durable: after a
    crash of the machine ask again.
    """
    with (
        writing(path),
        TemporaryDirectory(prefix=".", suffix=_PARTIAL, dir=_made(path.parent)) as own,
    ):
        temporary = Path(own) / path.name
        yield temporary
        temporary.replace(path)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fail(message: str, code: int) -> int:
    print(f"error: {visible(' '.join(message.split()))}", file=sys.stderr)
    return code
