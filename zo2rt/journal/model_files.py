"""Files that a run begins from: its base snapshot says what they are, and holds no copy of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """``sha256`` of every file by its name; ``holds`` names the parameters that are in them."""

    sha256: Mapping[str, str]
    holds: frozenset[str]


NONE = ModelFiles(sha256={}, holds=frozenset())
"""Of a model whose weights the base snapshot holds."""


class NeedsFiles(ValueError):
    """Weights are asked for that are in a model's files alone."""


def check_unchanged(begun: Mapping[str, str], now: Mapping[str, str], *, run: Path) -> None:
    """Raise ``ValueError`` naming the first file that is not what it was when the run began.

    Where the base snapshot holds the weights, files may be what they like.
    """
    if begun and not now:
        raise ValueError(
            f"{run}: the run began from the files {', '.join(sorted(begun))} of a model's folder, "
            f"which its base snapshot only names; give it the zo2rt.checkpoint.Checkpoint of that "
            f"folder"
        )
    for name in sorted({*begun, *now}) if begun else ():
        then, is_now = begun.get(name, "missing"), now.get(name, "missing")
        if then != is_now:
            raise ValueError(
                f"{name} in the model's folder must be the file that the run in {run} began from, "
                f"sha256 {then[:12]}; it is {is_now[:12]}; restore it, or start a new run"
            )
