"""The caching allocator's rules, one by one."""

import pytest

from zo2sim.memory.published.allocator import MIB, CachingAllocator, segment_bytes


@pytest.mark.parametrize(
    ("request_bytes", "segment"),
    [(512, 2 * MIB), (MIB, 2 * MIB), (MIB + 512, 20 * MIB), (10 * MIB, 10 * MIB)],
)
def test_segments_by_size(request_bytes: int, segment: int):
    assert segment_bytes(request_bytes) == segment


def test_large_segments_are_multiples_of_2_mib():
    assert segment_bytes(11 * MIB) == 12 * MIB


def test_a_freed_block_serves_the_same_stream_only():
    memory = CachingAllocator()
    memory.release(memory.allocate("a", 12 * MIB, "one"))
    memory.allocate("b", 12 * MIB, "one")
    assert memory.reserved_bytes == 12 * MIB
    memory.allocate("c", 12 * MIB, "two")
    assert memory.reserved_bytes == 24 * MIB


def test_the_smallest_block_that_fits_is_taken():
    memory = CachingAllocator()
    blocks = [memory.allocate("a", n * MIB) for n in (40, 12, 30)]
    for block in blocks:
        memory.release(block)
    memory.allocate("b", 12 * MIB)
    memory.allocate("c", 30 * MIB)
    memory.allocate("d", 40 * MIB)
    assert memory.reserved_bytes == 82 * MIB


def test_a_remainder_of_1_mib_stays_with_the_block():
    memory = CachingAllocator()
    memory.release(memory.allocate("a", 12 * MIB))
    memory.allocate("b", 11 * MIB)
    assert memory.allocated_bytes == 12 * MIB


def test_a_larger_remainder_is_split_off_and_merged_again():
    memory = CachingAllocator()
    memory.release(memory.allocate("a", 40 * MIB))
    first, second = memory.allocate("b", 12 * MIB), memory.allocate("c", 28 * MIB)
    assert memory.reserved_bytes == 40 * MIB
    memory.release(first)
    memory.release(second)
    memory.allocate("d", 40 * MIB)
    assert memory.reserved_bytes == 40 * MIB


def test_small_requests_share_a_segment_in_grains_of_512_bytes():
    memory = CachingAllocator()
    memory.allocate("a", 1)
    memory.allocate("b", 513)
    assert (memory.allocated_bytes, memory.reserved_bytes) == (1536, 2 * MIB)


def test_the_peak_names_what_was_alive():
    memory = CachingAllocator()
    kept, gone = memory.allocate("kept", 512), memory.allocate("gone", 1024)
    memory.release(gone)
    memory.allocate("later", 512)
    assert memory.peak_items == {"kept": 512, "gone": 1024}
    assert memory.peak_bytes == 1536
    memory.release(kept)
    assert memory.allocated_bytes == 512


def test_a_block_is_released_once():
    memory = CachingAllocator()
    block = memory.allocate("a", 512)
    memory.release(block)
    with pytest.raises(ValueError, match="released once"):
        memory.release(block)


def test_an_allocation_has_a_size():
    with pytest.raises(ValueError, match=r"got 'a', 0"):
        CachingAllocator().allocate("a", 0)
