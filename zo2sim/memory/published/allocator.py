"""PyTorch's CUDA caching allocator as arithmetic: which segments a run reserves, without a GPU.

The rules are those of the native allocator with its default settings (documented under "CUDA
memory management", https://docs.pytorch.org/docs/stable/notes/cuda.html; constants from
c10/cuda/CUDACachingAllocator.cpp, PyTorch 2.4, the version in the env.yml of liangyuwang/zo2):

- a request is rounded up to 512 bytes; up to 1 MiB it is small, otherwise large;
- a small request reserves a segment of 2 MiB, one below 10 MiB a segment of 20 MiB, any other
  one its own size rounded up to 2 MiB;
- a freed block serves later requests of the same stream and size class, the smallest that fits;
- what is left over is split off when it is at least 512 bytes (small) or above 1 MiB (large);
- free neighbours within a segment are merged; segments are never given back.
"""

from dataclasses import dataclass, field
from operator import attrgetter

MIB = 1 << 20
GRAIN_BYTES = 512
SMALL_BYTES = MIB
SMALL_SEGMENT_BYTES = 2 * MIB
MIDDLE_BYTES = 10 * MIB
MIDDLE_SEGMENT_BYTES = 20 * MIB
LARGE_GRAIN_BYTES = 2 * MIB


def round_up(nbytes: int, grain: int) -> int:
    """Smallest multiple of ``grain`` that holds ``nbytes``."""
    return -(-nbytes // grain) * grain


def segment_bytes(nbytes: int) -> int:
    """What the allocator reserves from the driver for a rounded request that no block serves."""
    if nbytes <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if nbytes < MIDDLE_BYTES:
        return MIDDLE_SEGMENT_BYTES
    return round_up(nbytes, LARGE_GRAIN_BYTES)


@dataclass(slots=True, eq=False)
class Block:
    """A part of a segment; ``name`` is empty while it is free."""

    pool: tuple[str, bool]
    nbytes: int
    number: int
    name: str = ""
    before: "Block | None" = None
    behind: "Block | None" = None


@dataclass(slots=True)
class CachingAllocator:
    """Allocated and reserved bytes of a sequence of allocations; mutable, like what it stands for.

    ``peak_items`` lists what was alive, by name, when ``peak_bytes`` was reached
    (`torch.cuda.max_memory_allocated`); ``reserved_bytes`` is `torch.cuda.memory_reserved`.
    """

    allocated_bytes: int = 0
    peak_bytes: int = 0
    reserved_bytes: int = 0
    peak_items: dict[str, int] = field(default_factory=dict[str, int])
    _alive: dict[str, int] = field(default_factory=dict[str, int])
    _free: dict[tuple[str, bool], list[Block]] = field(
        default_factory=dict[tuple[str, bool], list[Block]]
    )
    _count: int = 0

    def allocate(self, name: str, nbytes: int, stream: str = "default") -> Block:
        """A block of at least ``nbytes`` from the pool of ``stream``; raises on nothing to hold."""
        if nbytes < 1 or not name:
            raise ValueError(
                f"an allocation must have a name and >= 1 byte; got {name!r}, {nbytes}"
            )
        need = round_up(nbytes, GRAIN_BYTES)
        pool = (stream, need <= SMALL_BYTES)
        block = self._best_fit(pool, need) or self._reserve(pool, need)
        self._split(block, need)
        block.name = name
        self._account(name, block.nbytes)
        return block

    def release(self, block: Block) -> None:
        """Make a block free at once, for its own stream only; a second release is refused."""
        if not block.name:
            raise ValueError("a block must be released once; this one is free already")
        self._account(block.name, -block.nbytes)
        block.name = ""
        for other in (block.before, block.behind):
            if other is not None and not other.name:
                self._free[block.pool].remove(other)
                block = _merge(block, other)
        self._free[block.pool].append(block)

    def _best_fit(self, pool: tuple[str, bool], need: int) -> Block | None:
        fits = (b for b in self._free.setdefault(pool, []) if b.nbytes >= need)
        block = min(fits, key=attrgetter("nbytes", "number"), default=None)
        if block is not None:
            self._free[pool].remove(block)
        return block

    def _reserve(self, pool: tuple[str, bool], need: int) -> Block:
        nbytes = segment_bytes(need)
        self.reserved_bytes += nbytes
        return self._new_block(pool, nbytes)

    def _new_block(self, pool: tuple[str, bool], nbytes: int) -> Block:
        self._count += 1
        return Block(pool, nbytes, self._count)

    def _split(self, block: Block, need: int) -> None:
        left_over = block.nbytes - need
        _, small = block.pool
        if left_over < GRAIN_BYTES if small else left_over <= SMALL_BYTES:
            return
        rest = self._new_block(block.pool, left_over)
        rest.before, rest.behind = block, block.behind
        if block.behind is not None:
            block.behind.before = rest
        block.behind, block.nbytes = rest, need
        self._free[block.pool].append(rest)

    def _account(self, name: str, nbytes: int) -> None:
        self.allocated_bytes += nbytes
        self._alive[name] = self._alive.get(name, 0) + nbytes
        if self.allocated_bytes > self.peak_bytes:
            self.peak_bytes = self.allocated_bytes
            self.peak_items = {k: v for k, v in self._alive.items() if v}


def _merge(block: Block, other: Block) -> Block:
    first, second = (other, block) if block.before is other else (block, other)
    first.nbytes += second.nbytes
    first.behind = second.behind
    if second.behind is not None:
        second.behind.before = first
    return first
