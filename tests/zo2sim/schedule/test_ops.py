"""The vocabulary: names, edges that only point backwards, and the text form."""

import pytest

from zo2sim.schedule.ops import HEAD, TAIL, Buffer, BufferSpace, Kind, Op, Schedule, Stream, Track
from zo2sim.schedule.text import brief, dump, parse


def op(kind: Kind = Kind.H2D, stream: Stream = Stream.H2D, **fields: object) -> Op:
    return Op(kind=kind, stream=stream, **{"unit": 0, **fields})  # type: ignore[arg-type]


def test_names_tell_kind_unit_trip_and_step():
    assert op().name == "H0"
    assert op(unit=HEAD, kind=Kind.FORWARD, trip=1).name == "Fhead.1"
    assert op(unit=TAIL, kind=Kind.UPDATE, trip=1, step=2).name == "Utail.1@2"
    assert op(unit=None, kind=Kind.LOSS).name == "L"


def test_names_tell_the_device_and_the_group_before_trip_and_step():
    assert op(device=1).name == "H0%1"
    assert op(kind=Kind.FORWARD, group=2).name == "F0/2"
    assert op(kind=Kind.SEND, device=3, group=12, trip=1, step=2).name == "X0%3/12.1@2"


def test_an_order_is_a_stream_of_a_device():
    assert op(device=1).track == Track(1, Stream.H2D)
    assert [str(Track(device, Stream.H2D)) for device in range(2)] == ["h2d", "h2d%1"]
    assert str(Buffer(BufferSpace.RESIDENT, HEAD, 2)) == "resident:head%2"


@pytest.mark.parametrize(("field", "got"), [("device", "-1, 0"), ("group", "0, -1")])
def test_no_device_and_no_group_is_negative(field: str, got: str):
    with pytest.raises(ValueError, match=f"device and group must be >= 0; got {got}$"):
        op(**{field: -1})  # type: ignore[arg-type]


def test_text_tells_devices_and_groups():
    here, there = (Buffer(BufferSpace.ACTIVATIONS, 2, device) for device in (0, 1))
    sent = op(kind=Kind.SEND, stream=Stream.PEER, device=1, group=2, reads=(here,), writes=(there,))
    schedule = Schedule(name="s", ops=(sent,))
    assert dump(schedule) == (
        "schedule s steps=1\nX0%1/2 peer reads activations:2 writes activations:2%1\n"
    )
    assert parse(dump(schedule)) == schedule


def test_an_edge_must_point_backwards():
    late = op(unit=1, after=("H2",))
    with pytest.raises(ValueError, match=r"^s: H1 waits on H2, which must be an earlier operation"):
        Schedule(name="s", ops=(late, op(unit=2)))


def test_an_edge_to_itself_is_refused():
    with pytest.raises(ValueError, match="H0 waits on H0"):
        Schedule(name="s", ops=(op(after=("H0",)),))


def test_an_edge_to_the_previous_period_may_point_forwards():
    schedule = Schedule(name="s", ops=(op(unit=1, after=("H2^",)), op(unit=2)))
    assert brief(schedule) == "H1<H2^ | H2"


def test_an_edge_to_nothing_is_refused():
    with pytest.raises(ValueError, match="H0 waits on F9"):
        Schedule(name="s", ops=(op(after=("F9^",)),))


def test_names_are_unique():
    with pytest.raises(ValueError, match="s: operation names must be unique; twice: H0"):
        Schedule(name="s", ops=(op(), op()))


def test_lanes_are_checked():
    with pytest.raises(ValueError, match=r"lanes must be '', '\+-', '\+', '-' or '0'; got '\+\+'"):
        op(lanes="++")


@pytest.mark.parametrize("lanes", ["", "+-", "+", "-", "0"])
def test_these_are_lanes(lanes: str):
    assert op(kind=Kind.FORWARD, lanes=lanes).lanes == lanes


@pytest.mark.parametrize(
    ("field", "got"), [("step", "-1, 0, 0"), ("trip", "0, -1, 0"), ("records", "0, 0, -1")]
)
def test_no_count_is_negative(field: str, got: str):
    with pytest.raises(ValueError, match=f"step, trip and records must be >= 0; got {got}$"):
        op(**{field: -1})  # type: ignore[arg-type]


def test_a_period_has_a_step():
    with pytest.raises(ValueError, match=r"^s: a period must have at least 1 step; got 0$"):
        Schedule(name="s", steps=0, ops=())


def test_text_round_trips():
    schedule = Schedule(
        name="s/period",
        steps=2,
        ops=(
            op(slot=1, reads=(Buffer(BufferSpace.HOST, 0),), writes=(Buffer(BufferSpace.SLOT, 1),)),
            op(kind=Kind.FORWARD, stream=Stream.COMPUTE, unit=TAIL, lanes="+-", after=("H0",)),
            op(kind=Kind.UPDATE, stream=Stream.COMPUTE, step=1, records=2, after=("H0^",)),
        ),
    )
    text = dump(schedule)
    assert text == (
        "schedule s/period steps=2\n"
        "H0 h2d slot=1 reads host:0 writes slot:1\n"
        "Ftail compute lanes=+- after H0\n"
        "U0@1 compute records=2 after H0^\n"
    )
    assert parse(text) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"f: must start with 'schedule NAME steps=K'; got an empty text"),
        ("schedule x steps=0", r"f:1: must be 'schedule NAME steps=K'"),
        ("schedule x steps=1\nQ0 h2d", r"f:2: must be 'NAME STREAM .*got 'Q0 h2d'"),
        ("schedule x steps=1\nH0x h2d", r"f:2: .*'H0x' is no operation name such as H0, F3.1"),
        ("\n\nschedule x steps=1\n\nH0 pcie", r"^f:5: "),
        ("schedule x steps=1\nH0 pcie", r"f:2: .*'pcie' is not a valid Stream"),
        ("schedule x steps=1\nH0", r"f:2: must be 'NAME STREAM"),
        ("schedule x steps=1\nH0 h2d slots=1", r"'slots=1' is neither slot="),
        ("schedule x steps=1\nH0 h2d reads disk:1", r"'disk' is not a valid BufferSpace"),
    ],
)
def test_a_malformed_text_names_its_line(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse(text, where="f")
