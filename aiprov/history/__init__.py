"""What runs and validations found and did, kept so that it can be shown again and compared.

A file of SQLite in the working folder, or a PostgreSQL database that controllers share: see
``database``. Runs are kept here, validations and their measurements in ``measurements``.
"""

from __future__ import annotations

import json
from typing import Any

from aiprov.errors import UsageError
from aiprov.history.database import Place, default_place, exists, opened, shown

KEPT_RUNS = 1000
"""Older runs are dropped, so that a drift check every few minutes does not fill a disk."""


def record(document: dict[str, Any], place: Place | None = None) -> int:
    """Keep a run's document; returns its number. Raises ``UsageError`` when it cannot be kept."""
    with opened(place or default_place(), write=True) as database:
        number = database.next_number("runs")
        database.rows(
            "INSERT INTO runs (id, started, verb, document) "
            "VALUES (:number, :started, :verb, :document)",
            number=number,
            started=document["started"],
            verb=document["verb"],
            document=json.dumps(document, sort_keys=True),
        )
        database.rows("DELETE FROM runs WHERE id <= :oldest", oldest=number - KEPT_RUNS)
    return number


def load(number: int | None = None, place: Place | None = None) -> dict[str, Any]:
    """A kept run by its number, or the newest. Raises ``UsageError`` when there is none."""
    where = place or default_place()
    which = "ORDER BY id DESC LIMIT 1" if number is None else "WHERE id = :number"
    found = []
    if exists(where):
        with opened(where) as database:
            found = database.rows(f"SELECT id, document FROM runs {which}", number=number)  # noqa: S608
    if found:
        document: dict[str, Any] = json.loads(found[0][1])
        return {**document, "run": found[0][0]}
    if number is None:
        raise UsageError(
            f"no run was recorded here ({shown(where)})", hint="run `aiprov apply` first"
        )
    raise UsageError(f"there is no run {number} in {shown(where)}", hint="`aiprov report --list`")


def runs(place: Place | None = None) -> list[tuple[int, str, str]]:
    """All kept runs as (number, started, verb), newest first."""
    where = place or default_place()
    if not exists(where):
        return []
    with opened(where) as database:
        return [
            (number, started, verb)
            for number, started, verb in database.rows(
                "SELECT id, started, verb FROM runs ORDER BY id DESC"
            )
        ]
