"""A core for all that goes on beside the computation, where there is one."""

import os
import sys

import pytest
import torch

from zo2rt.backends import HostBackend
from zo2sim.schedule.ops import Stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="binds threads on Linux only")


def cores_of(stream: Stream, *, own_core: bool = False) -> set[int]:
    """Where work of a stream may run."""
    seen: list[set[int]] = []
    with HostBackend(own_core=own_core) as backend:
        backend.launch(stream, lambda: seen.append(os.sched_getaffinity(0)), label="look")
        backend.synchronize()
    return seen[0]


def test_what_computes_and_the_rest_share_no_core():
    torch.set_num_threads(1)
    every = os.sched_getaffinity(0)
    if len(every) == 1:
        pytest.skip("one core")
    aside = cores_of(Stream.H2D, own_core=True)
    assert aside == {max(every)}
    assert all(cores_of(one, own_core=True) == aside for one in (Stream.D2H, Stream.HOST))
    assert cores_of(Stream.COMPUTE, own_core=True) == every - aside
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
