"""The lines of a journal as they lie on disks: their format is a promise."""

import hashlib

import pytest

from tests.zo2rt.journal.test_journal import BASE, LINES, RECORDS
from zo2rt.journal.chain import FIRST, seal, unseal
from zo2rt.journal.reading import parse
from zo2rt.journal.record import to_json


def test_what_was_written_in_this_format_stays_readable():
    """Runs that are on disks say this number, and were digested in this order."""
    whole = unseal(FIRST, LINES[0])
    assert whole is not None
    assert whole.content["format"] == 2
    body = b'{"a":[2,null],"b":1}'
    digest = hashlib.sha256(b"\n" + body).hexdigest().encode()
    line = b'{"sha256": "' + digest + b'", "body": ' + body + b"}\n"
    assert seal(FIRST, {"b": 1, "a": [2, None]}) == line


def test_a_record_of_another_step_is_no_damage_and_no_journal():
    """Each line follows the one before; a step was left out before they were sealed."""
    whole = unseal(FIRST, LINES[0])
    assert whole is not None
    skipped = seal(BASE.position.sha256, to_json(RECORDS[1]))
    with pytest.raises(ValueError, match="records must count up by 1; it says step 1"):
        parse(LINES[0] + skipped, where="j")
