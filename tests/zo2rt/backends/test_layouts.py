"""A tensor that arrives elsewhere is the same to the last stride."""

import pytest
import torch
from torch import Tensor

from zo2rt.backends.layouts import ALIGNMENT_BYTES, brought

CPU = torch.device("cpu")
BASE = torch.arange(4 * 6 * 8, dtype=torch.float32).view(4, 6, 8)


@pytest.mark.parametrize(
    "tensor",
    [
        BASE,
        BASE.transpose(0, 2),
        BASE[1:, ::2, 3:],
        BASE[0, 0, 5],
        BASE[:, :1].expand(4, 6, 8),
        BASE.to(torch.bfloat16)[2, 1],
        BASE > 7,
        BASE.to(torch.int64)[3],
        torch.empty(0, 3),
    ],
    ids=lambda t: f"{t.dtype}{tuple(t.stride())}+{t.storage_offset()}",
)
def test_values_strides_and_alignment_stay(tensor: Tensor):
    def copy(target: Tensor, source: Tensor) -> None:
        target.copy_(source)

    there = brought(tensor, CPU, copy)
    assert torch.equal(there, tensor)
    assert (there.dtype, there.stride()) == (tensor.dtype, tensor.stride())
    if tensor.numel():
        assert there.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()
        inside = [t.data_ptr() % ALIGNMENT_BYTES for t in (there, tensor)]
        assert inside[0] == inside[1]


def test_what_was_expanded_is_not_copied_twice():
    copied = list[int]()

    def copy(target: Tensor, source: Tensor) -> None:
        copied.append(source.numel())
        target.copy_(source)

    brought(BASE[:1, :1].expand(100, 6, 8), CPU, copy)
    assert copied == [8 * 4]
