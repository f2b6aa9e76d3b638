"""The fitted and assumed constants of the memory account, from `data/memory_constants.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConstants:
    """``context_bytes``: NVML's figure less the allocator's segments; ``process_bytes``: host."""

    context_bytes: int
    process_bytes: int

    def __post_init__(self) -> None:
        if self.context_bytes < 0 or self.process_bytes < 0:
            raise ValueError(
                f"context_bytes and process_bytes must be >= 0; "
                f"got {self.context_bytes}, {self.process_bytes}"
            )


@cache
def load_constants() -> MemoryConstants:
    """The constants that ship with the package; the file says where each comes from."""
    text = files("zo2sim").joinpath("data/memory_constants.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return MemoryConstants(
        context_bytes=table["context"]["bytes"], process_bytes=table["process"]["bytes"]
    )
