"""The journal: cut off anywhere it is believed up to there; damaged in the middle it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.payload.journal import Journal, JournalError, decoded, encoded, read


def written(path: Path) -> bytes:
    journal = Journal(str(path))
    journal.write("plan", durable=True, campaign="a")
    journal.write("begin", durable=True, cell="x")
    journal.write("sample", cell="x", temperature=61, text='"crc":1}')
    journal.write("end", durable=True, cell="x", status="done")
    journal.write("begin", durable=True, cell="y")
    journal.close()
    return path.read_bytes()


def test_what_is_written_is_read(tmp_path: Path):
    past = read(written(tmp_path / "j"))
    assert [item["event"] for item in past.records] == ["plan", "begin", "sample", "end", "begin"]
    assert past.problem == ""
    assert set(past.ended) == {"x"}
    assert (past.attempts("x"), past.attempts("y"), past.attempts("z")) == (1, 1, 0)


def test_cut_off_after_any_byte_nothing_before_is_lost(tmp_path: Path):
    data = written(tmp_path / "j")
    whole = read(data).records
    for size in range(len(data) + 1):
        past = read(data[:size])
        assert past.problem == ""
        assert past.records == whole[: data[:size].count(b"\n")]


def test_what_was_cut_off_is_not_glued_to_what_comes_next(tmp_path: Path):
    path = tmp_path / "j"
    path.write_bytes(written(tmp_path / "other")[:-5])
    journal = Journal(str(path))
    assert len(journal.past.records) == 4
    journal.write("stop", reason="test")
    journal.close()
    past = read(path.read_bytes())
    assert past.problem == ""
    assert past.records[-1]["event"] == "stop"


def test_a_flipped_bit_anywhere_ends_what_is_believed(tmp_path: Path):
    data = written(tmp_path / "j")
    lines = data.splitlines(keepends=True)
    whole = read(data).records
    for place in range(len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 0x04
        past = read(bytes(changed))
        number = data[:place].count(b"\n")
        assert past.records[:number] == whole[:number]
        assert all(record in whole for record in past.records)
        assert len(past.records) <= number or number == len(lines) - 1 or past.problem


@pytest.mark.parametrize("missing", [0, 2])
def test_a_line_that_is_missing_is_noticed(tmp_path: Path, missing: int):
    lines = written(tmp_path / "j").splitlines(keepends=True)
    past = read(b"".join(lines[:missing] + lines[missing + 1 :]))
    assert len(past.records) == missing
    assert "has number" in past.problem


def test_a_damaged_journal_is_not_written_to(tmp_path: Path):
    path = tmp_path / "j"
    data = bytearray(written(path))
    data[3] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalError, match=r"line 1: .*; move it away"):
        Journal(str(path))
    assert path.read_bytes() == data


def test_only_one_has_a_journal(tmp_path: Path):
    path = str(tmp_path / "j")
    journal = Journal(path)
    with pytest.raises(JournalError, match="another validation"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_journal_that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(JournalError, match="No such file"):
        Journal(str(tmp_path / "no" / "j"))


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans()), max_size=4))
def test_a_line_says_what_was_put_in(fields: dict[str, object]):
    record = {key: value for key, value in fields.items() if key != "crc"}
    record.setdefault("event", "sample")
    line = encoded(record)
    assert line.count(b"\n") == 1
    assert decoded(line) == record
