"""Histories of both kinds: a file, and a schema of its own in a real PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.history.database import Place

_NUMBERS = itertools.count()


def _programs() -> Path | None:
    """Where PostgreSQL's server programs are; Debian has them by version and not on PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a throwaway server on a socket in a temporary folder."""
    programs = _programs()
    if programs is None:
        why = "no PostgreSQL server: apt install postgresql"
        (pytest.fail if "CI" in os.environ else pytest.skip)(why)
    folder = Path(tempfile.mkdtemp(prefix="aiprov-pg-"))  # short: a socket's path has 107 bytes
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    shutil.chown(folder, user)
    data = folder / "data"

    def as_user(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, *arguments], user=user, check=True, cwd=folder,
            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    try:
        as_user("initdb", "-D", str(data), "-U", "aiprov", "-A", "trust", "-N", "-E", "UTF8")
        only_socket = f"-k {folder} -c listen_addresses= -F"
        as_user("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", only_socket,
                "start")  # fmt: skip
        try:
            yield f"postgresql://aiprov@/postgres?host={folder}"
        finally:
            as_user("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_place(postgresql_server: str) -> str:
    """The URL of an empty history in that server."""
    import psycopg

    schema = f"history{next(_NUMBERS)}"
    with psycopg.connect(postgresql_server) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{postgresql_server}&options=-csearch_path%3D{schema}"


@pytest.fixture(params=["sqlite", "postgresql"])
def history_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty history, of either kind."""
    if request.param == "sqlite":
        return tmp_path / "history.sqlite3"
    place: str = request.getfixturevalue("postgresql_place")
    return place
