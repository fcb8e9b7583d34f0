"""Where the history is: a file of SQLite, or a PostgreSQL database; opened, locked, in order.

The statements are the same for both, and so few that no library stands between: SQLAlchemy takes
0.2 s to load, at every ``aiprov plan``, where SQLite itself takes 8 ms (measured 2026-11).
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiprov.errors import UsageError
from aiprov.history.schema import FORMATS

VARIABLE = "AIPROV_HISTORY"
WAIT_S = 10
"""How long another aiprov may take to write, and a server to answer."""

_LOCK = 0x6169_7072_6F76
"""The number of the lock that writers of a PostgreSQL history take."""

Place = Path | str
"""A file of SQLite, or the URL of a PostgreSQL database."""
Row = tuple[Any, ...]


def default_place() -> Place:
    """``$AIPROV_HISTORY``, a file or a URL, or ``.aiprov/history.sqlite3`` in the working folder.

    Raises ``UsageError`` for a URL of another kind.
    """
    told = os.environ.get(VARIABLE) or ".aiprov/history.sqlite3"
    if told.startswith(("postgresql://", "postgres://")):
        return told
    if "://" in told:
        raise UsageError(
            f"{VARIABLE}: {told.partition(':')[0]}:// is no history",
            hint="name a file, or a database as postgresql://USER@HOST/DATABASE",
        )
    return Path(told)


def shown(place: Place) -> str:
    """The place for a person; of a URL neither the password nor parameters."""
    if isinstance(place, Path):
        return str(place)
    url = urlsplit(place)
    who, _, where = url.netloc.rpartition("@")
    return f"{url.scheme}://{who.partition(':')[0]}{'@' if who else ''}{where}{url.path}"


def exists(place: Place) -> bool:
    """Whether there can be something to read: a file that is not there has no history."""
    return not isinstance(place, Path) or place.exists()


class Database:
    """A transaction. Statements name their values as ``:name``."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """What a statement answers; nothing where it only changes."""
        self._cursor.execute(self._in_its_words(statement), _storable(values))
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def each(self, statement: str, values: Iterable[Mapping[str, Any]]) -> None:
        """A statement once for each of many."""
        self._cursor.executemany(self._in_its_words(statement), map(_storable, values))

    def next_number(self, table: str) -> int:
        """The number after the last one. Writers come one after the other, so it stays free."""
        number: int = self.rows(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")[0][0]  # noqa: S608
        return number

    def lock(self) -> None:
        """Until the end of the transaction nobody else writes."""

    def format(self) -> int:
        """Which of ``FORMATS`` it has; 0 before the first."""
        if not self._has("history_format"):
            return 0
        number: int = self.rows("SELECT format FROM history_format")[0][0]
        return number

    def _has(self, table: str) -> bool:
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE name = :table", table=table))

    def _in_its_words(self, statement: str) -> str:
        return statement


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with texts that both databases take, whatever a host said: no NUL, no half signs."""
    return {
        name: value.encode("utf-8", "replace").decode().replace("\0", "?")
        if isinstance(value, str)
        else value
        for name, value in values.items()
    }


class _Postgresql(Database):
    def lock(self) -> None:
        self.rows(f"SET LOCAL lock_timeout = '{WAIT_S}s'")
        self.rows("SELECT pg_advisory_xact_lock(:number)", number=_LOCK)

    def _has(self, table: str) -> bool:
        # Not to_regclass: it may still say no of a table that was made while this one waited.
        named = "tablename = :table AND schemaname = ANY (current_schemas(false))"
        return bool(self.rows(f"SELECT 1 FROM pg_tables WHERE {named}", table=table))  # noqa: S608

    def _in_its_words(self, statement: str) -> str:
        return re.sub(r":(\w+)", r"%(\1)s", statement)


@contextmanager
def opened(place: Place, *, write: bool = False) -> Iterator[Database]:
    """The history in one transaction, in the present format.

    A file that is not there is made only to ``write``. Raises ``UsageError`` where it cannot be
    read or written, which says why and what to do.
    """
    connection = _sqlite(place, write) if isinstance(place, Path) else _postgresql(place)
    with connection as database:
        if write:
            database.lock()
        _bring_up_to_date(database, place)
        yield database


def _bring_up_to_date(database: Database, place: Place) -> None:
    if database.format() == len(FORMATS):
        return
    database.lock()
    found = database.format()  # perhaps somebody else was faster
    if found > len(FORMATS):
        raise UsageError(
            f"history {shown(place)} has format {found}, this aiprov knows {len(FORMATS)}",
            hint="a newer aiprov has written it: use that one",
        )
    for statements in FORMATS[found:]:
        for statement in statements:
            database.rows(statement)
    database.rows("UPDATE history_format SET format = :format", format=len(FORMATS))


# ---------------------------------------------------------------- SQLite

_SQLITE_HINTS = {
    sqlite3.SQLITE_BUSY: "another program writes to it, or holds it open: try again when it ends",
    sqlite3.SQLITE_LOCKED: "another program writes to it, or holds it open: try again when it ends",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: move it away (`sqlite3 FILE .recover` reads what "
    "is left); the next run makes a new one",
    sqlite3.SQLITE_NOTADB: "the file is no history: move it away, and the next run makes a new one",
}


@contextmanager
def _sqlite(path: Path, write: bool) -> Iterator[Database]:
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Plans show what is in configuration files, which is not for everybody's eyes.
            path.touch(mode=0o600)
        with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as connection:
            # Years of measurements survive a power cut; FULL would survive a lost last run too.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield Database(connection.cursor())
            connection.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
        hint = _SQLITE_HINTS.get(code, f"set {VARIABLE} to a file you can write to")
        raise UsageError(f"history {path}: {error}", hint=hint) from error


# ---------------------------------------------------------------- PostgreSQL

_POSTGRESQL_HINTS = {
    "08": f"is the server up, and {VARIABLE} right? Passwords come from PGPASSWORD or ~/.pgpass",
    "25": "the server or this user may only read: name the primary server",
    "28": "passwords come from PGPASSWORD or ~/.pgpass; the server's pg_hba.conf decides",
    "3D": "create the database first (`createdb`)",
    "42": "the user must own the tables of the history, or be granted all on them",
    "53": "the server is out of room or connections: see its log",
    "55": "another program writes to it: try again when it ends",
}
"""By the class of an SQLSTATE, its first two characters; ``08``: no connection."""


@contextmanager
def _postgresql(url: str) -> Iterator[Database]:
    try:
        import psycopg
    except ImportError as error:
        raise UsageError(
            f"history {shown(url)}: psycopg is not installed ({error})",
            hint="pip install 'aiprov[postgresql]'",
        ) from error
    try:
        with (
            psycopg.connect(url, connect_timeout=WAIT_S, application_name="aiprov") as connection,
            connection.cursor() as cursor,
        ):
            yield _Postgresql(cursor)
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:  # its message may quote a password
            raise UsageError(
                f"{VARIABLE} is no URL that PostgreSQL understands",
                hint="postgresql://USER@HOST/DATABASE; in a password, @ is %40 and / is %2F",
            ) from None
        raise _told(url, error) from error
    except psycopg.Error as error:
        raise _told(url, error) from error


def _told(url: str, error: Any) -> UsageError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    hint = _POSTGRESQL_HINTS.get((error.sqlstate or "08")[:2])
    return UsageError(f"history {shown(url)}: {lines[0]}", hint=hint or "see the server's log")
