"""Copies on a core of their own, where there is one."""

import os
import sys

import pytest
import torch

from zo2rt.backends import HostBackend
from zo2sim.schedule import Stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="binds threads on Linux only")


def cores_of(stream: Stream, *, own_core: bool = False) -> set[int]:
    """Where work of a stream may run."""
    seen: list[set[int]] = []
    with HostBackend(own_core=own_core) as backend:
        backend.launch(stream, lambda: seen.append(os.sched_getaffinity(0)), label="look")
        backend.synchronize()
    return seen[0]


def test_copies_and_the_rest_share_no_core():
    torch.set_num_threads(1)
    every = os.sched_getaffinity(0)
    if len(every) == 1:
        pytest.skip("one core")
    copies = cores_of(Stream.H2D, own_core=True)
    assert copies == cores_of(Stream.D2H, own_core=True) == {max(every)}
    assert cores_of(Stream.COMPUTE, own_core=True) == every - copies
    assert os.sched_getaffinity(0) == every, "the caller is not bound"


def test_nobody_is_bound_unless_asked():
    assert cores_of(Stream.H2D) == os.sched_getaffinity(0)


def test_nobody_is_bound_where_every_core_computes():
    every = os.sched_getaffinity(0)
    torch.set_num_threads(len(every))
    try:
        assert cores_of(Stream.H2D, own_core=True) == every
    finally:
        torch.set_num_threads(1)
