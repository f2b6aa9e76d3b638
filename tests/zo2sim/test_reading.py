"""What a text is read from: any file, a pipe that is fed, and nothing without an end."""

import os
from pathlib import Path
from threading import Thread

import pytest

from zo2sim.reading import read_text


def test_a_mark_is_left_out_and_lines_end_with_one_letter(tmp_path: Path):
    file = tmp_path / "text"
    file.write_bytes("\ufeffa\r\nb\rc\n\u2028d".encode())
    assert read_text(file) == "a\nb\nc\n\u2028d"


def test_what_is_no_text_is_named(tmp_path: Path):
    file = tmp_path / "text"
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="text: must be text in UTF-8"):
        read_text(file)


def test_a_text_has_an_end(tmp_path: Path):
    with pytest.raises(ValueError, match="/dev/zero: must be a text of at most 99 bytes"):
        read_text(Path("/dev/zero"), 99)
    file = tmp_path / "text"
    file.write_text("a" * 100)
    with pytest.raises(ValueError, match="at most 99 bytes"):
        read_text(file, 99)
    assert len(read_text(file, 100)) == len(read_text(file, None)) == 100


def test_nobody_waits_for_a_pipe_that_nobody_writes_to(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: must be a text; it is a pipe to which nobody"):
        read_text(tmp_path / "pipe")


def test_a_pipe_that_is_written_to_is_read_to_its_end():
    end, begin = os.pipe()

    def write() -> None:
        with os.fdopen(begin, "w") as file:
            file.write("a" * (1 << 20))

    thread = Thread(target=write, daemon=True)
    thread.start()
    assert len(read_text(Path(f"/dev/fd/{end}"))) == 1 << 20
    thread.join()
    os.close(end)
