"""Validations and what they measured, by the serial number of each part.

Nothing here raises because the history cannot be read or written: a verdict does not depend on it,
so the error is returned, to be printed beside the verdict.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiprov.checks.fleet import Past
from aiprov.checks.model import Check, Measurement, Subject, Verdict, worst
from aiprov.checks.statistics import FEWEST
from aiprov.checks.validation import Validation, from_document
from aiprov.errors import UsageError
from aiprov.history.database import Database, Place, default_place, exists, opened, shown

KEPT_WHOLE = 200
"""The newest validations are kept with their documents: evidence, curves and all."""
KEPT_DAYS = 3 * 365
"""Of older ones the verdicts and measurements stay so long, counted back from the newest."""
MOST_PAST = 50
"""Values of one metric of one part that it is compared with: its first five and its last."""

_AT_ONCE = 500
"""Serial numbers in one question: SQLite takes 999 values, or more, by how it was built."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A GPU that was in another host when it was last validated, at ``seen``."""

    subject: Subject
    model: str
    before: str
    seen: str

    def __str__(self) -> str:
        return (
            f"{self.subject}: {self.model} {self.subject.id} was in {self.before} "
            f"until {self.seen[:10]}"
        )


def remember(
    validation: Validation, software: Mapping[Subject, str], place: Place | None = None
) -> UsageError | None:
    """Keep a validation and its measurements; the error where that cannot be done.

    ``software``: what measurements depend on besides the part (driver, PyTorch, payload), by part;
    for parts that are not named their host's. A campaign that was kept before is replaced. What a
    self-test injected is not kept: it says nothing of the parts.
    """
    if validation.self_test:
        return None
    # Made before the history is locked: of a large fleet it takes seconds.
    whole = _row(validation)
    subjects = _subjects(validation)
    parts = list(_parts(validation, subjects, software))
    values = list(_values(validation.checks, subjects))
    try:
        with opened(place or default_place(), write=True) as database:
            run = _cleared(database, validation.campaign)
            database.rows(
                "INSERT INTO validations (id, campaign, started, seconds, verdict, document) "
                "VALUES (:run, :campaign, :started, :seconds, :verdict, :document)",
                run=run,
                **whole,
            )
            database.each(
                "INSERT INTO subjects (validation, nth, host, kind, serial, label, model, "
                "software, verdict) VALUES (:run, :nth, :host, :kind, :serial, :label, :model, "
                ":software, :verdict)",
                ({"run": run, **part} for part in parts),
            )
            database.each(
                "INSERT INTO measurements (validation, subject, check_name, name, value, unit, "
                "verdict) VALUES (:run, :nth, :check, :name, :value, :unit, :verdict)",
                ({"run": run, **value} for value in values),
            )
            _forget(database)
    except UsageError as error:
        return error
    return None


def past(
    subjects: Iterable[Subject],
    software: Mapping[Subject, str],
    *,
    campaign: str = "",
    place: Place | None = None,
) -> Past | UsageError:
    """What was measured on these parts before, under the same software, oldest first.

    Only values of checks that were ok: what is broken is no measure of what should be. Without
    those of ``campaign`` itself, which is resumed. Of many values the first five and the last.
    """
    try:
        where = place or default_place()
        if not exists(where):
            return {}
        with opened(where) as database:
            return before(database, {one: _software(one, software) for one in subjects}, campaign)
    except UsageError as error:
        return error


def moved(validation: Validation, place: Place | None = None) -> tuple[Moved, ...] | UsageError:
    """The GPUs of a validation that were in another host when they were last validated."""
    try:
        where = place or default_place()
        if not exists(where):
            return ()
        with opened(where) as database:
            return tuple(_moved(database, validation))
    except UsageError as error:
        return error


def load(number: int | None = None, place: Place | None = None) -> Validation:
    """A kept validation by its number, or the newest.

    Raises ``UsageError`` where there is none, or it is so old that only its values were kept.
    """
    where = place or default_place()
    found = []
    if exists(where):
        which = "ORDER BY id DESC LIMIT 1" if number is None else "WHERE id = :number"
        with opened(where) as database:
            found = database.rows(
                f"SELECT id, document FROM validations {which}",  # noqa: S608
                number=number,
            )
    if not found:
        what = "no validation" if number is None else f"no validation {number}"
        raise UsageError(
            f"{what} was kept in {shown(where)}", hint="`aiprov history` lists what there is"
        )
    if found[0][1] is None:
        raise UsageError(
            f"of validation {found[0][0]} only verdicts and values were kept",
            hint=f"whole are the newest {KEPT_WHOLE}: `aiprov history`",
        )
    return from_document(json.loads(zlib.decompress(found[0][1])))


def before(database: Database, software: Mapping[Subject, str], campaign: str) -> Past:
    """``past`` in a transaction that is open, of parts with their software."""
    parts: dict[str, dict[str, str]] = {}
    for subject, told in software.items():
        parts.setdefault(told, {})[subject.serial] = subject.kind
    found: dict[tuple[str, str, str], list[float]] = {}
    for told, kinds in parts.items():
        serials = list(kinds)
        for start in range(0, len(serials), _AT_ONCE):
            chunk = serials[start : start + _AT_ONCE]
            for one, kind, check, name, value in _past_rows(database, chunk, told, campaign):
                if kinds[one] == kind:
                    found.setdefault((one, check, name), []).append(value)
    return found


def utc(at: str) -> str:
    """A time as it is kept: UTC, so that it sorts as text. One without a zone is UTC."""
    time = datetime.fromisoformat(at)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


# ---------------------------------------------------------------- writing


def _row(validation: Validation) -> dict[str, Any]:
    text = json.dumps(validation.document, sort_keys=True)
    return {
        "campaign": validation.campaign,
        "started": utc(validation.started),
        "seconds": validation.seconds,
        "verdict": validation.verdict,
        "document": zlib.compress(text.encode()),
    }


def _cleared(database: Database, campaign: str) -> int:
    """The number of a campaign, of which nothing is kept now; the one it had before if it had."""
    known = database.rows("SELECT id FROM validations WHERE campaign = :name", name=campaign)
    number: int = known[0][0] if known else database.next_number("validations")
    _drop(database, number)
    return number


def _drop(database: Database, number: int) -> None:
    for table in ("measurements", "subjects"):
        database.rows(f"DELETE FROM {table} WHERE validation = :number", number=number)  # noqa: S608
    database.rows("DELETE FROM validations WHERE id = :number", number=number)


def _subjects(validation: Validation) -> dict[Subject, Verdict]:
    """All parts that the validation is about, and what it says of them."""
    seen = [gpu.subject for gpu in validation.gpus]
    seen += [Subject(host=run.host) for run in validation.hosts]
    absent: dict[Subject, Verdict] = dict.fromkeys(seen, "not measured")
    return dict(sorted({**absent, **validation.by_subject}.items()))


def _parts(
    validation: Validation, subjects: Mapping[Subject, Verdict], software: Mapping[Subject, str]
) -> Iterator[dict[str, Any]]:
    models = {gpu.subject: gpu.model for gpu in validation.gpus}
    for nth, (subject, verdict) in enumerate(subjects.items()):
        yield {
            "nth": nth,
            "host": subject.host,
            "kind": subject.kind,
            "serial": subject.serial,
            "label": subject.label,
            "model": models.get(subject, ""),
            "software": _software(subject, software),
            "verdict": verdict,
        }


def _software(subject: Subject, software: Mapping[Subject, str]) -> str:
    return software.get(subject) or software.get(Subject(host=subject.host), "")


def _values(checks: Sequence[Check], subjects: Iterable[Subject]) -> Iterator[dict[str, Any]]:
    """What is a number, once for each part, check and name, with the worst verdict on the check.

    A check that is there twice was made again: the first has the value that was judged.
    """
    places = {subject: nth for nth, subject in enumerate(subjects)}
    verdicts: dict[tuple[Subject, str], list[Verdict]] = {}
    for check in checks:
        verdicts.setdefault((check.subject, check.name), []).append(check.verdict)
    values: dict[tuple[Subject, str, str], Measurement] = {}
    for check in checks:
        for item in check.measurements:
            if is_number(item.value):
                values.setdefault((check.subject, check.name, item.name), item)
    for (subject, check_name, name), item in values.items():
        yield {
            "nth": places[subject],
            "check": check_name,
            "name": name,
            "value": float(item.value or 0),
            "unit": item.unit,
            "verdict": worst(verdicts[subject, check_name]),
        }


def is_number(value: object) -> bool:
    """Whether a value can be compared with others over time."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _forget(database: Database) -> None:
    """Drop what is not kept any longer."""
    kept = "SELECT id FROM validations ORDER BY started DESC, id DESC LIMIT :most"
    database.rows(
        "UPDATE validations SET document = NULL "  # noqa: S608
        f"WHERE document IS NOT NULL AND id NOT IN ({kept})",
        most=KEPT_WHOLE,
    )
    newest = datetime.fromisoformat(database.rows("SELECT max(started) FROM validations")[0][0])
    old = database.rows(
        f"SELECT id FROM validations WHERE started < :oldest AND id NOT IN ({kept})",  # noqa: S608
        oldest=(newest - timedelta(days=KEPT_DAYS)).isoformat(),
        most=KEPT_WHOLE,
    )
    for (number,) in old:
        _drop(database, number)


# ---------------------------------------------------------------- reading


def among(serials: Sequence[str]) -> tuple[str, dict[str, str]]:
    """``IN (…)`` and its values."""
    values = {f"s{nth}": one for nth, one in enumerate(serials)}
    return f"IN ({', '.join(f':{name}' for name in values)})", values


def _past_rows(
    database: Database, serials: Sequence[str], software: str, campaign: str
) -> list[tuple[Any, ...]]:
    those, values = among(serials)
    return database.rows(
        f"""
        SELECT serial, kind, check_name, name, value FROM (
            SELECT serial, kind, check_name, name, value, at, run,
                row_number() OVER (PARTITION BY serial, kind, check_name, name
                    ORDER BY at, run) AS nth,
                row_number() OVER (PARTITION BY serial, kind, check_name, name
                    ORDER BY at DESC, run DESC) AS back
            FROM measured
            WHERE serial {those} AND software = :software AND verdict = 'ok'
                AND campaign <> :campaign
        ) AS numbered
        WHERE nth <= :fewest OR back <= :most
        ORDER BY at, run
        """,  # noqa: S608
        software=software,
        campaign=campaign,
        fewest=FEWEST,
        most=MOST_PAST - FEWEST,
        **values,
    )


def _moved(database: Database, validation: Validation) -> Iterator[Moved]:
    gpus = {gpu.subject.serial: gpu for gpu in validation.gpus if gpu.subject.id}
    serials = list(gpus)
    for start in range(0, len(serials), _AT_ONCE):
        those, values = among(serials[start : start + _AT_ONCE])
        last: dict[str, tuple[str, str]] = {}
        for one, host, at in database.rows(
            f"""
            SELECT s.serial, s.host, v.started FROM subjects s
            JOIN validations v ON v.id = s.validation
            WHERE s.kind = 'gpu' AND s.serial {those} AND v.campaign <> :campaign
                AND v.started <= :started
            ORDER BY v.started, v.id
            """,  # noqa: S608
            campaign=validation.campaign,
            started=utc(validation.started),
            **values,
        ):
            last[one] = (host, at)
        for one, (host, at) in last.items():
            subject = gpus[one].subject
            if host != subject.host:
                yield Moved(subject=subject, model=gpus[one].model, before=host, seen=at)
