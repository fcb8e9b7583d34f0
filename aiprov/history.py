"""What runs found and did, kept so that it can be shown again: one SQLite file a working folder."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aiprov.errors import UsageError

KEPT_RUNS = 1000
"""Older runs are dropped, so that a drift check every few minutes does not fill a disk."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL,
    verb TEXT NOT NULL,
    document TEXT NOT NULL
)
"""


def default_path() -> Path:
    """``$AIPROV_HISTORY``, or ``.aiprov/history.sqlite3`` in the working folder."""
    return Path(os.environ.get("AIPROV_HISTORY") or ".aiprov/history.sqlite3")


def record(document: dict[str, Any], path: Path | None = None) -> int:
    """Keep a run's document; returns its number. Raises ``UsageError`` when it cannot be kept."""
    with _database(path or default_path()) as database:
        cursor = database.execute(
            "INSERT INTO runs (started, verb, document) VALUES (?, ?, ?)",
            (document["started"], document["verb"], json.dumps(document, sort_keys=True)),
        )
        number = cursor.lastrowid or 0
        database.execute("DELETE FROM runs WHERE id <= ?", (number - KEPT_RUNS,))
    return number


def load(number: int | None = None, path: Path | None = None) -> dict[str, Any]:
    """A kept run by its number, or the newest. Raises ``UsageError`` when there is none."""
    where = path or default_path()
    if not where.exists():
        raise UsageError(f"no run was recorded here ({where})", hint="run `aiprov apply` first")
    query = (
        "SELECT id, document FROM runs WHERE id = :number OR :number IS NULL "
        "ORDER BY id DESC LIMIT 1"
    )
    with _database(where) as database:
        row = database.execute(query, {"number": number}).fetchone()
    if row is None:
        raise UsageError(f"there is no run {number} in {where}", hint="`aiprov report --list`")
    document: dict[str, Any] = json.loads(row[1])
    return {**document, "run": row[0]}


def runs(path: Path | None = None) -> list[tuple[int, str, str]]:
    """All kept runs as (number, started, verb), newest first."""
    where = path or default_path()
    if not where.exists():
        return []
    with _database(where) as database:
        return list(database.execute("SELECT id, started, verb FROM runs ORDER BY id DESC"))


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Plans show what is in configuration files, which is not for everybody's eyes.
        path.touch(mode=0o600)
        with closing(sqlite3.connect(path, timeout=10)) as database, database:
            # A log need not survive a power cut, and waiting for the disk costs every run.
            database.execute("PRAGMA synchronous = OFF")
            database.execute(_SCHEMA)
            yield database
    except (OSError, sqlite3.Error) as error:
        raise UsageError(
            f"run history {path}: {error}", hint="set AIPROV_HISTORY to a file you can write to"
        ) from error
