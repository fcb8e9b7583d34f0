"""Runs are kept and found again, and a history that cannot be used says why."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from aiprov import history
from aiprov.errors import UsageError
from aiprov.history import database
from aiprov.history.schema import FORMATS

FIRST_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, verb TEXT NOT NULL, document TEXT NOT NULL
)
"""
"""Of histories that knew runs only, and said no format."""


def run(verb: str = "plan") -> dict:
    return {"started": "2026-11-21T10:00:00+00:00", "verb": verb, "hosts": {"h": verb}}


def test_runs_are_kept_and_found(history_place):
    first = history.record(run("plan"), history_place)
    second = history.record(run("apply"), history_place)
    assert history.load(place=history_place)["run"] == second
    assert history.load(first, history_place)["hosts"] == {"h": "plan"}
    assert [number for number, _, _ in history.runs(history_place)] == [second, first]


def test_only_the_newest_runs_are_kept(history_place, monkeypatch):
    monkeypatch.setattr(history, "KEPT_RUNS", 3)
    for verb in "abcde":
        history.record(run(verb), history_place)
    assert [verb for _, _, verb in history.runs(history_place)] == ["e", "d", "c"]


def test_a_missing_run_is_said(history_place):
    with pytest.raises(UsageError, match="no run was recorded"):
        history.load(place=history_place)
    history.record(run(), history_place)
    with pytest.raises(UsageError, match="there is no run 7"):
        history.load(7, history_place)


def test_a_file_is_made_with_its_folder_and_is_private(tmp_path):
    path = tmp_path / "deep" / "history.sqlite3"
    history.record(run(), path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_looking_makes_no_file(tmp_path):
    assert history.runs(tmp_path / "none.sqlite3") == []
    assert list(tmp_path.iterdir()) == []


def test_a_history_of_runs_only_keeps_its_runs(tmp_path):
    path = tmp_path / "old.sqlite3"
    with sqlite3.connect(path) as old:
        old.execute(FIRST_SCHEMA)
        old.execute("INSERT INTO runs VALUES (41, '2026-01-01', 'apply', '{\"verb\": \"apply\"}')")
    assert history.load(41, path) == {"verb": "apply", "run": 41}
    assert history.record(run(), path) == 42
    with database.opened(path) as opened:
        assert opened.format() == len(FORMATS)


@pytest.mark.parametrize("found", range(len(FORMATS)))
def test_every_format_can_be_brought_up_to_date(tmp_path, found):
    path = tmp_path / "old.sqlite3"
    with sqlite3.connect(path) as old:
        for statement in [one for statements in FORMATS[:found] for one in statements]:
            old.execute(statement)
        if found:
            old.execute("UPDATE history_format SET format = ?", (found,))
    history.record(run(), path)
    assert len(history.runs(path)) == 1


def test_a_newer_history_is_left_alone(history_place):
    history.record(run(), history_place)
    with database.opened(history_place, write=True) as opened:
        opened.rows("UPDATE history_format SET format = 99")
    with pytest.raises(UsageError, match="has format 99") as caught:
        history.record(run(), history_place)
    assert "newer aiprov" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="has format 99"):
        history.runs(history_place)


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "h.sqlite3"
    history.record(run(), path)
    before = path.read_bytes()
    monkeypatch.setattr(database, "FORMATS", (*FORMATS, ("CREATE TABLE a (b TEXT)", "nonsense")))
    with pytest.raises(UsageError, match="syntax error"):
        history.record(run(), path)
    assert path.read_bytes() == before


# ---------------------------------------------------------------- what cannot be used


def damaged(path: Path) -> None:
    history.record(run("x" * 100_000), path)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:12_288])


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 500)


def folder(path: Path) -> None:
    path.mkdir()


def under_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


@pytest.mark.parametrize(
    ("spoil", "message", "hint"),
    [
        (damaged, "malformed", "move it away"),
        (garbage, "file is not a database", "move it away"),
        (folder, "unable to open|is a directory", "AIPROV_HISTORY"),
        (under_a_file, "File exists|Not a directory", "AIPROV_HISTORY"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, spoil, message, hint):
    path = tmp_path / "folder" / "h.sqlite3"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(UsageError, match=message) as caught:
        history.record(run(), path)
    assert hint in (caught.value.hint or "")
    assert str(path) in str(caught.value)


def test_a_locked_file_says_so(tmp_path, monkeypatch):
    path = tmp_path / "h.sqlite3"
    history.record(run(), path)
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        for use in (lambda: history.record(run(), path), lambda: history.runs(path)):
            with pytest.raises(UsageError, match="locked") as caught:
                use()
            assert "try again" in (caught.value.hint or "")
    other.close()


def test_a_full_disk_says_so(tmp_path, monkeypatch):
    path = tmp_path / "h.sqlite3"
    history.record(run(), path)
    connect = sqlite3.connect

    def small(*args, **more):
        made = connect(*args, **more)
        made.execute("PRAGMA max_page_count = 12")
        return made

    monkeypatch.setattr(database.sqlite3, "connect", small)
    with pytest.raises(UsageError, match="full") as caught:
        history.record(run("x" * 1_000_000), path)
    assert "make room" in (caught.value.hint or "")
    monkeypatch.undo()
    assert len(history.runs(path)) == 1


def test_a_read_only_history_can_be_read(tmp_path, monkeypatch):
    path = tmp_path / "h.sqlite3"
    history.record(run(), path)
    connect = sqlite3.connect
    read_only = f"file:{path}?mode=ro"
    monkeypatch.setattr(  # root may write anywhere, so the file is opened as others would
        database.sqlite3, "connect", lambda _path, **more: connect(read_only, uri=True, **more)
    )
    assert len(history.runs(path)) == 1
    with pytest.raises(UsageError, match="readonly") as caught:
        history.record(run(), path)
    assert "AIPROV_HISTORY" in (caught.value.hint or "")


# ---------------------------------------------------------------- where it is


def test_where_the_history_is(monkeypatch):
    monkeypatch.delenv("AIPROV_HISTORY", raising=False)
    assert database.default_place() == Path(".aiprov/history.sqlite3")
    for told, place in [
        ("/var/h", Path("/var/h")),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgres://h/d", "postgres://h/d"),
    ]:
        monkeypatch.setitem(os.environ, "AIPROV_HISTORY", told)
        assert database.default_place() == place
    monkeypatch.setitem(os.environ, "AIPROV_HISTORY", "mysql://u:secret@h/d")
    with pytest.raises(UsageError, match="mysql:// is no history") as caught:
        database.default_place()
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown():
    place = "postgresql://joe:s3cret@db.example:5433/aiprov?password=also"
    assert database.shown(place) == "postgresql://joe@db.example:5433/aiprov"


def test_without_psycopg_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(UsageError, match="psycopg is not installed") as caught:
        history.runs("postgresql://joe:s3cret@h/d")
    assert "aiprov[postgresql]" in (caught.value.hint or "")
    assert "s3cret" not in str(caught.value)
