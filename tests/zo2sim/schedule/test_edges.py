"""Edges from accesses: complete, minimal, and periodic."""

from zo2sim.schedule.edges import with_edges
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Stream

SLOT = Buffer(BufferSpace.SLOT, 0)
HOST = Buffer(BufferSpace.HOST, 0)


def upload(**fields: object) -> Op:
    base = {"kind": Kind.H2D, "stream": Stream.H2D, "unit": 0, "reads": (HOST,), "writes": (SLOT,)}
    return Op(**{**base, **fields})  # type: ignore[arg-type]


def forward(**fields: object) -> Op:
    base = {"kind": Kind.FORWARD, "stream": Stream.COMPUTE, "unit": 0, "reads": (SLOT,)}
    return Op(**{**base, **fields})  # type: ignore[arg-type]


def download(**fields: object) -> Op:
    base = {"kind": Kind.D2H, "stream": Stream.D2H, "unit": 0, "reads": (SLOT,), "writes": (HOST,)}
    return Op(**{**base, **fields})  # type: ignore[arg-type]


def edges(*ops: Op, cyclic: bool = False) -> list[tuple[str, ...]]:
    return [op.after for op in with_edges(ops, cyclic=cyclic)]


def test_a_read_waits_for_the_write():
    assert edges(upload(), forward()) == [(), ("H0",)]


def test_a_write_waits_for_every_read_before_it():
    again = upload(unit=1, reads=(), stream=Stream.NVME_READ)
    assert edges(upload(), forward(), download(), again)[3] == ("D0", "F0")


def test_stream_order_needs_no_edge():
    assert edges(upload(), forward(), forward(unit=1))[2] == ()


def test_an_implied_edge_is_left_out():
    """H1 overwrites what H0 wrote and F0 read; waiting for F0 is enough."""
    late = upload(unit=1, stream=Stream.HOST, reads=())
    assert edges(upload(), forward(), late)[2] == ("F0",)


def test_edges_reach_into_the_previous_period():
    assert edges(upload(), forward(), download(), cyclic=True) == [("D0^", "F0^"), ("H0",), ("H0",)]


def test_an_asked_edge_is_kept():
    assert edges(upload(), forward(reads=(), after=("H0",)))[1] == ("H0",)


def test_an_asked_edge_that_is_implied_is_left_out():
    ops = (upload(), forward(), download(after=("F0", "H0")))
    assert edges(*ops)[2] == ("F0",)
