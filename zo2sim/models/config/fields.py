"""Checked reading of a config: every malformed value is one ValueError that names the key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Never, cast

MAX_COUNT = 2**31 - 1
MAX_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one config; ``name`` says in errors whose they are.

    ``default`` stands in for an absent key; without one the key is required. JSON's null counts
    as absent where transformers derives the value instead (``optional_count``).
    """

    config: Mapping[str, object]
    name: str

    def count(self, key: str, default: int | None = None, *, limit: int = MAX_COUNT) -> int:
        """A whole number from 1 to ``limit``."""
        value = self.config.get(key, default)
        if type(value) is not int or not 1 <= value <= limit:
            self._refuse(key, f"a whole number from 1 to {limit}")
        return value

    def optional_count(self, key: str, default: int | None = None) -> int | None:
        """Like `count`; None for null, or for an absent key without a default."""
        return None if self.config.get(key, default) is None else self.count(key, default)

    def layers(self, key: str) -> int:
        """Number of blocks."""
        return self.count(key, limit=MAX_LAYERS)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            self._refuse(key, "true or false")
        return value

    def optional_flag(self, key: str, default: bool) -> bool:
        """Like `flag`; null means ``default``."""
        return default if self.config.get(key) is None else self.flag(key, default)

    def positive(self, key: str, default: float | None = None) -> float | None:
        """A finite number above 0, or None for null."""
        value = self.config.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(key, "a number above 0, or null")
        if not 0 < value < float("inf"):
            self._refuse(key, "a number above 0, or null")
        return value

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """One of the allowed texts."""
        value = self.config.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            self._refuse(key, f"one of {', '.join(allowed)}")
        return value

    def choices(self, key: str, allowed: Sequence[str], length: int) -> tuple[str, ...] | None:
        """A list of ``length`` allowed texts, or None for null or an absent key."""
        value = self.config.get(key)
        if value is None:
            return None
        items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
        texts = tuple(item for item in items if isinstance(item, str) and item in allowed)
        if len(items) != length or len(texts) != length:
            self._refuse(key, f"a list of {length} of {', '.join(allowed)}")
        return texts

    def must_divide(self, whole: tuple[str, int], part: tuple[str, int]) -> None:
        """Refuse a whole that is no multiple of its part; both are (key, value)."""
        if whole[1] % part[1]:
            raise ValueError(
                f"{self.name}: {whole[0]} must be a multiple of {part[0]}; "
                f"got {whole[1]} and {part[1]}"
            )

    def _refuse(self, key: str, rule: str) -> Never:
        got = _show(self.config[key]) if key in self.config else "no such key"
        raise ValueError(f"{self.name}: {key} in the config must be {rule}; got {got}")


def _show(value: object) -> str:
    """A short one-line text for any value, whole numbers of thousands of digits included."""
    if type(value) is int and value.bit_length() > 256:
        return f"a whole number of {value.bit_length()} bits"
    short = Repr()
    short.maxstring = short.maxother = 60
    try:
        return " ".join(short.repr(value).split())
    except ValueError:  # a container that holds such a number
        return f"a {type(value).__name__}"
