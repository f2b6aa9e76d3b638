"""The clock: whole logs of what happened when."""

from collections.abc import Iterator
from functools import partial

from zo2sim.simulate.clock import Clock, Event, Turn


def test_what_is_due_at_one_instant_happens_in_the_order_it_was_asked_for():
    clock, log = Clock(), list[str]()
    clock.after(2, partial(log.append, "two"))
    clock.after(1, partial(log.append, "one"))
    clock.after(2, partial(log.append, "two, too"))
    clock.soon(partial(log.append, "now"))
    clock.after(1e-30, partial(log.append, "as good as now"))
    clock.run()
    assert log == ["now", "as good as now", "one", "two", "two, too"]


def test_what_comes_last_waits_for_what_an_instant_brings():
    clock, log = Clock(), list[str]()
    clock.last(partial(log.append, "last"))
    clock.soon(partial(clock.soon, partial(log.append, "brought")))
    clock.after(0, partial(log.append, "asked for"))
    clock.run()
    assert log == ["asked for", "brought", "last"]


def test_what_a_process_does_first_comes_before_what_is_due():
    clock, log = Clock(), list[str]()

    def process(name: str) -> Iterator[Event]:
        log.append(f"{name} begins")
        yield clock.timeout(1)
        log.append(f"{name} ends at {clock.now}")

    clock.soon(partial(log.append, "due"))
    clock.process(process("a"))
    clock.process(process("b"))
    clock.run()
    assert log == ["a begins", "b begins", "due", "a ends at 1", "b ends at 1"]


def test_turns_are_taken_first_come_first_served():
    clock, log = Clock(), list[tuple[str, float]]()
    turn = Turn(clock)

    def process(name: str, seconds: float) -> Iterator[Event]:
        yield turn.request()
        log.append((name, clock.now))
        yield clock.timeout(seconds)
        turn.release()

    for name, seconds in (("a", 3), ("b", 2), ("c", 1)):
        clock.process(process(name, seconds))
    clock.run()
    assert log == [("a", 0), ("b", 3), ("c", 5)]
