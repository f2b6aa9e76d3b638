"""The journal: every bit comes back, a torn end is dropped, any other damage is named."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zo2rt.journal.lossy_disk import LossyDisk, Truncate
from tests.zo2rt.journal.toy_run import HEADER, first_weights, measured
from zo2rt.journal import (
    Base,
    Contents,
    DamageError,
    Draw,
    Group,
    Journal,
    Position,
    Rate,
    Record,
    check_same,
    history,
    must_skip,
    read,
)
from zo2rt.journal.chain import FIRST, seal, unseal
from zo2rt.journal.durable import Disk
from zo2rt.journal.groups import DECAYED, UNDECAYED, by_decay
from zo2rt.journal.reading import FORMAT_VERSION, parse
from zo2rt.journal.record import from_json, to_json
from zo2rt.noise import Update

PATH = Path("/run/journal.jsonl")
BASE = Base(position=HEADER.start, snapshot_sha256="0" * 64)
RECORDS = tuple(measured(first_weights(), step) for step in range(8))  # step 6 is skipped


def journal(records: int = len(RECORDS), fs: LossyDisk | None = None) -> tuple[LossyDisk, Journal]:
    fs = fs or LossyDisk()
    made = Journal.create(fs, PATH, HEADER, BASE)
    for record in RECORDS[:records]:
        made.append(record)
    return fs, made


DATA = journal()[0].read(PATH)
LINES = DATA.splitlines(keepends=True)
STARTS = [sum(map(len, LINES[:i])) for i in range(len(LINES) + 1)]


def texts(records: Any) -> list[str]:
    """Records as text: NaN equals NaN."""
    return [json.dumps(to_json(record)) for record in records]


def rebased(made: Journal, step: int) -> Base:
    return Base(position=made.position_at(step), snapshot_sha256="1" * 64)


def test_all_comes_back():
    contents = parse(DATA, where="j")
    assert (contents.header, contents.base) == (HEADER, BASE)
    assert texts(contents.records) == texts(RECORDS)
    assert (contents.marks, contents.torn_bytes) == (tuple(STARTS[1:]), 0)
    assert contents.position == journal()[1].position
    assert contents.position.step == 8


doubles = st.floats(width=64)


@given(losses=st.lists(doubles, min_size=1, max_size=4), g=doubles, key=st.integers(0, 2**64 - 1))
def test_records_keep_every_bit(losses: list[float], g: float, key: int):
    rates = (Rate(group="x", lr=1e-7, weight_decay=0.1),)
    draws = (Draw(key=key, g=g),)
    record = Record(
        step=3,
        losses=tuple(losses),
        draws=draws,
        rates=rates,
        eps=1e-3,
        skipped=must_skip(losses, draws, rates),
        cursor=0,
    )
    again = from_json(json.loads(json.dumps(to_json(record))))
    assert repr(again) == repr(record)  # repr of a float is exact, and NaN has one


@given(lost=st.integers(1, len(LINES[-1])))
def test_a_torn_last_record_is_dropped_and_cut_away_before_the_next(lost: int):
    fs, _ = journal()
    handle = fs.open(PATH, new=False)
    fs.truncate(handle, len(DATA) - lost)
    contents = read(fs, PATH)
    assert texts(contents.records) == texts(RECORDS[:-1])
    assert contents.torn_bytes == len(LINES[-1]) - lost
    opened = Journal.open(fs, PATH)
    opened.append(RECORDS[-1])
    assert fs.read(PATH) == DATA


def test_zeros_at_the_end_are_torn():
    assert parse(DATA + bytes(700), where="j").torn_bytes == 700


def damage_at(step: int) -> str:
    return rf"^j: the record of step {step} at byte {STARTS[step + 1]} must follow the digest"


@pytest.mark.parametrize(
    ("lines", "step"),
    [
        ([*LINES[:3], *LINES[4:]], 2),  # missing
        ([*LINES[:-2], LINES[-1]], 6),  # the last but one is missing
        ([*LINES[:3], LINES[4], LINES[3], *LINES[5:]], 2),  # reordered
        ([*LINES[:-2], LINES[-1], LINES[-2]], 6),
        ([*LINES[:3], LINES[2], *LINES[3:]], 2),  # repeated
        ([*LINES, LINES[-1]], 8),
        ([*LINES[:-1], LINES[-1].replace(b'"cursor":16', b'"cursor":17')], 7),  # changed
        ([*LINES[:-2], LINES[-2][:-1] + b" ", LINES[-1]], 6),  # two lines run together
    ],
)
def test_damage_that_no_crash_makes_is_named(lines: list[bytes], step: int):
    with pytest.raises(DamageError, match=damage_at(step)):
        parse(b"".join(lines), where="j")


def test_a_damaged_header_is_named():
    for data in (b"", DATA[:50], DATA.replace(b"constant", b"Constant", 1)):
        with pytest.raises(DamageError, match=r"^j: the header, .* bytes at byte 0, must be"):
            parse(data, where="j")


def test_a_journal_of_another_version_is_named():
    whole = unseal(FIRST, LINES[0])
    assert whole is not None
    other = seal(FIRST, whole.content | {"format": FORMAT_VERSION + 1})
    with pytest.raises(ValueError, match=f"format must be {FORMAT_VERSION}; got"):
        parse(other, where="j")


def assert_prefix_or_named(data: bytes, first_changed: int) -> None:
    """Nothing but whole records before the change is given out, or the record is named."""
    intact = sum(start <= first_changed for start in STARTS[2:])
    found = contents_or_complaint(data)
    if isinstance(found, str):
        in_header = first_changed < STARTS[1]
        assert ("byte 0" if in_header else f"step {intact} at byte {STARTS[intact + 1]} ") in found
    else:
        assert found.torn_bytes > 0 or len(data) in STARTS
        assert texts(found.records) == texts(RECORDS[:intact])
        assert len(data) < STARTS[intact + 1] + 2 * len(LINES[-1])  # one record at most is dropped


def contents_or_complaint(data: bytes) -> Contents | str:
    try:
        return parse(data, where="j")
    except DamageError as error:
        return str(error)


@given(place=st.integers(0, len(DATA) - 1), byte=st.integers(0, 255))
def test_one_changed_byte(place: int, byte: int):
    data = bytearray(DATA)
    if data[place] != byte:
        data[place] = byte
        assert_prefix_or_named(bytes(data), place)


@given(place=st.integers(0, len(DATA) - 1), width=st.integers(1, 600), fill=st.binary(max_size=9))
def test_a_stretch_replaced(place: int, width: int, fill: bytes):
    data = DATA[:place] + fill + DATA[place + width :]
    pairs = zip(data, DATA, strict=False)
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(data), len(DATA)))
    if data != DATA:
        assert_prefix_or_named(data, first)


@given(length=st.integers(0, len(DATA) - 1))
def test_a_truncated_file(length: int):
    assert_prefix_or_named(DATA[:length], length)


def test_a_new_run_does_not_replace_a_journal():
    fs, _ = journal()
    with pytest.raises(ValueError, match="needs a path without a journal; one is there"):
        Journal.create(fs, PATH, HEADER, BASE)
    assert fs.read(PATH) == DATA


def test_a_failed_append_can_be_tried_again():
    for stuck in (False, True):
        fs, made = journal(3)
        before = len(fs.read(PATH))
        fs.fail_at = 0
        with pytest.raises(OSError, match=r"the record of step 3 was not written \(No space") as e:
            made.append(RECORDS[3])
        assert e.value.errno == errno.ENOSPC
        assert Truncate(fs.open(PATH, new=False), before) in fs.log
        fs.fail_at = None
        if stuck:
            made = Journal.open(fs, PATH)
        for record in RECORDS[3:]:
            made.append(record)
        assert fs.read(PATH) == DATA


def test_an_end_that_could_not_be_cut_is_noticed():
    fs, made = journal(3)
    fs.write(fs.open(PATH, new=False), memoryview(LINES[4][:40]))
    with pytest.raises(ValueError, match="a write failed, or another process writes to it"):
        made.append(RECORDS[3])
    assert Journal.open(fs, PATH).position.step == 3


def test_records_come_in_order_with_the_rates_of_all_groups():
    _, made = journal(3)
    with pytest.raises(ValueError, match="the next record must be of step 3; got step 4"):
        made.append(RECORDS[4])
    with pytest.raises(ValueError, match=r"rates must be those of the groups \('matrices', 'vec"):
        made.append(replace(RECORDS[3], rates=RECORDS[3].rates[:1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": (float("nan"),)}, "step 1: every loss, and lr g / q in fp32, must be finite"),
        ({"draws": (Draw(key=0, g=float("inf")),)}, "unless the step is journalled as skipped"),
        ({"draws": (Draw(key=0, g=1e40),)}, "unless the step is journalled as skipped"),
        ({"draws": ()}, "step 1: a record needs at least one draw; got none"),
        ({"eps": 0.0}, "step 1: eps must be > 0 and finite; got 0.0"),
        ({"step": -1}, "step and cursor of a record must be >= 0; got -1"),
    ],
)
def test_records_refuse_nonsense(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        replace(RECORDS[1], **change)
    with pytest.raises(ValueError, match=r"a noise key must be in 0\.\.2\*\*64-1"):
        Draw(key=2**64, g=0.0)
    with pytest.raises(ValueError, match="group x: lr must be finite; got nan"):
        Rate(group="x", lr=float("nan"), weight_decay=0.0)


def test_a_skipped_step_updates_nothing_and_vectors_do_not_decay():
    rates = (
        Rate(group=DECAYED, lr=0.1, weight_decay=0.5),
        Rate(group=UNDECAYED, lr=0.1, weight_decay=0.0),
    )
    done, skipped = (replace(RECORDS[step], rates=rates) for step in (1, 6))
    assert by_decay([skipped, done]) == {
        True: [Update(draws=done.draws, lr=0.1, weight_decay=0.5)],
        False: [Update(draws=done.draws, lr=0.1, weight_decay=0.0)],
    }


def test_a_diverged_step_is_journalled_as_skipped_and_seed_0_and_g_0_are_kept():
    contents = parse(DATA, where="j")
    assert [r.step for r in contents.records if r.skipped] == [6]
    assert contents.records[6].losses[1] != contents.records[6].losses[1]
    assert contents.header.seed == 0
    kept = replace(RECORDS[1], draws=(Draw(key=0, g=0.0),))
    assert from_json(to_json(kept)) == kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"groups": (replace(HEADER.groups[0], lr=0.2), HEADER.groups[1])},
            r"groups\[0\]\.lr is 0\.1 in the journal and 0\.2 in this run",
        ),
        ({"noise_version": 2}, "noise_version is 1 in the journal and 2 in this run"),
        ({"noise": "rademacher"}, "noise is 'gaussian' in the journal and 'rademacher'"),
        ({"decay_rule": "all"}, "decay_rule is 'no decay for vectors, version 1' in the journal"),
        ({"lr_schedule": "linear"}, "lr_schedule is 'constant' in the journal and 'linear'"),
        ({"seed": 1}, "seed is 0 in the journal and 1 in this run"),
        ({"recipe": ""}, "recipe is .* in the journal and '' in this run"),
        (
            {"parameters": (replace(HEADER.parameters[0], shape=(4, 3)), HEADER.parameters[1])},
            r"parameters\[0\]\.shape is \(3, 4\) in the journal and \(4, 3\) in this run",
        ),
        (
            {"parameters": HEADER.parameters[:1]},
            r"parameters\[1\]\.name is 'b' in the journal and 'absent' in this run; ",
        ),
        (
            {"forward": replace(HEADER.forward, buffers="9")},
            r"forward\.buffers is '2' in the journal and '9' in this run",
        ),
        (
            {"environment": replace(HEADER.environment, threads=2)},
            r"environment\.threads is 1 in the journal and 2 in this run \(.*torchrun starts",
        ),
    ],
)
def test_another_run_may_not_replay_a_journal(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        check_same(HEADER, replace(HEADER, **change), where="j")


def test_another_plan_may():
    check_same(HEADER, replace(HEADER, plan="other"), where="j")


def test_headers_refuse_what_has_no_meaning():
    with pytest.raises(ValueError, match="names of parameter groups must differ"):
        replace(HEADER, groups=(HEADER.groups[0],) * 2)
    with pytest.raises(ValueError, match=r"p of the parameters must increase; got \[1, 0\]"):
        replace(HEADER, parameters=HEADER.parameters[::-1])
    with pytest.raises(ValueError, match=r"parameter a: group must be one of \['x'\]; got 'matri"):
        replace(HEADER, groups=(Group(name="x", lr=1, weight_decay=0),))


def test_compaction_keeps_the_chain_and_the_dropped_records():
    fs, made = journal()
    whole, end = read(fs, PATH), made.position
    first = made.compact(rebased(made, 3))
    second = made.compact(rebased(made, 5))
    assert (first.name, second.name) == (
        "journal-00000000-00000003.jsonl",
        "journal-00000003-00000005.jsonl",
    )
    assert made.position == end
    assert [len(read(fs, path).records) for path in (first, second, PATH)] == [3, 2, 3]
    for step in range(9):
        position = Position(step=step, sha256=whole.chain[step])
        assert texts(history(fs, PATH, position)) == texts(RECORDS[step:])
    made.append(replace(RECORDS[0], step=8))
    assert Journal.open(fs, PATH).position == made.position


def test_a_compaction_that_was_killed_is_done_again():
    fs, made = journal()
    start, base = len(fs.log), rebased(made, 3)
    made.compact(base)
    for length in range(start, len(fs.log)):
        after = fs.after_kill(length)
        again = Journal.open(after, PATH)
        if again.base != base:
            again.compact(base)
        for later in range(length, len(after.log) + 1):
            for left in after.after_crash(later):
                assert texts(history(left, PATH, HEADER.start)) == texts(RECORDS)
        assert read(after, PATH).base == base


def test_history_names_what_is_missing():
    fs, made = journal()
    archive = made.compact(rebased(made, 3))
    with pytest.raises(DamageError, match="weights at step 1 must come from the journal's own"):
        history(fs, PATH, Position(step=1, sha256="0" * 64))
    with pytest.raises(DamageError, match="which reach step 8; they belong to another run, or"):
        history(fs, PATH, Position(step=9, sha256="0" * 64))
    fs.remove(archive)
    with pytest.raises(DamageError, match=r"before step 3 must be in an archive .*-\*-00000003"):
        history(fs, PATH, HEADER.start)


def test_records_since_a_position_of_another_run_are_refused():
    _, made = journal()
    assert texts(made.since(made.position_at(5))) == texts(RECORDS[5:])
    with pytest.raises(DamageError, match="weights at step 5 must come from the journal's own"):
        made.since(Position(step=5, sha256="0" * 64))
    with pytest.raises(ValueError, match="holds records for positions 0 to 8; got 9"):
        made.position_at(9)


def test_an_archive_with_other_bytes_is_never_replaced():
    fs, made = journal()
    path = PATH.with_name("journal-00000000-00000003.jsonl")
    fs.open(path, new=True)
    with pytest.raises(ValueError, match=r"must hold the records that journal\.jsonl is about to"):
        made.compact(rebased(made, 3))
    assert fs.read(PATH) == DATA


def test_on_a_real_disk(tmp_path: Path):
    path = tmp_path / "new" / "journal.jsonl"
    made = Journal.create(Disk(), path, HEADER, BASE)
    for record in RECORDS:
        made.append(record)
    assert path.read_bytes() == DATA
    contents: Contents = read(Disk(), path)
    assert contents.position == made.position
