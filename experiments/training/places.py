"""Where the files of a run lie: in its folder, or elsewhere, and both may have moved since.

A file in the run's folder is told relative to it, any other in full. What is told in full is
looked for where it lay as seen from the folder, which a whole tree that moves keeps, and then where
it was.
"""

import os
from pathlib import Path

_HERE = "./"


def told(path: Path | str, folder: Path) -> str:
    """The path as a run's config.json has it."""
    absolute, home = Path(path).absolute(), folder.absolute()
    if absolute.is_relative_to(home):
        return _HERE + absolute.relative_to(home).as_posix()
    return str(absolute)


def found(text: str, folder: Path, *, was: str | None) -> str:
    """Where a path that was told lies now; ``was`` is where the folder lay then."""
    if text.startswith(_HERE):
        return str(folder / text)
    if was is None or not os.path.isabs(text):
        return text
    beside = os.path.normpath(folder.absolute() / os.path.relpath(text, was))
    return beside if os.path.exists(beside) else text
