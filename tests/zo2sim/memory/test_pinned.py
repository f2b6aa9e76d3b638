"""Pinned host memory: powers of two per tensor, or whole pages."""

import pytest

from zo2sim.memory.pinned import host_bytes, power_of_two, whole_pages


@pytest.mark.parametrize(
    ("nbytes", "rounded"),
    [(1, 1), (2, 2), (3, 4), (4096, 4096), (4097, 8192), (301_989_888, 536_870_912)],
)
def test_pytorch_rounds_up_to_a_power_of_two(nbytes: int, rounded: int):
    assert power_of_two(nbytes) == rounded


def test_nothing_cannot_be_pinned():
    with pytest.raises(ValueError, match="at least 1 byte; got 0"):
        power_of_two(0)


def test_a_registered_buffer_costs_whole_pages():
    assert [whole_pages(n) for n in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]


def test_rounding_is_per_tensor_and_pages_are_per_block():
    tensors = [4097, 4097]
    assert host_bytes(tensors, "rounded") == 16384
    assert host_bytes(tensors, "exact") == 12288
    assert host_bytes(tensors, "pageable") == 12288
