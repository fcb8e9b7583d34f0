"""How a metric of a part went from validation to validation, and whether it got worse."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, get_args

from aiprov.checks.fleet import Past, judged
from aiprov.checks.model import Bound, Check, Measurement, Subject, SubjectKind, Verdict
from aiprov.checks.statistics import Metric, pooled_noise
from aiprov.errors import UsageError
from aiprov.history.database import Database, Place, default_place, exists, opened, shown
from aiprov.history.measurements import among, before

_KINDS: Sequence[SubjectKind] = get_args(SubjectKind)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A validation in a list. ``hosts`` and ``gpus``: how many have which verdict."""

    run: int
    campaign: str
    started: str
    seconds: float
    verdict: Verdict
    hosts: Mapping[Verdict, int]
    gpus: Mapping[Verdict, int]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value of one validation. ``verdict`` is that of the check it belongs to."""

    run: int
    at: str
    host: str
    software: str
    value: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A metric of a part, oldest first.

    ``noise``: relative, from run to run, of all parts that were validated with it. ``bound``: what
    its newest value must reach by its own past, the rule that validations judge by; ``None`` for
    what is no rate, and where it has too few runs under the same software.
    """

    subject: Subject
    model: str
    check: str
    name: str
    unit: str
    points: tuple[Point, ...] = ()
    noise: float = 0.0
    bound: Bound | None = None

    @property
    def comparable(self) -> tuple[Point, ...]:
        """The points under the software of the newest."""
        return tuple(one for one in self.points if one.software == self.points[-1].software)

    @property
    def median(self) -> float:
        """Of what is comparable."""
        return median(point.value for point in self.comparable)

    @property
    def change(self) -> float | None:
        """Of the newest value against the median of those before, relative; ``None``: none."""
        earlier = [point.value for point in self.comparable[:-1]]
        centre = median(earlier) if earlier else 0.0
        return self.points[-1].value / centre - 1 if centre else None

    @property
    def regression(self) -> bool:
        """Whether the newest value is worse than its own past allows."""
        return self.bound is not None and not self.bound.holds(self.points[-1].value)

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "subject": asdict(self.subject),
            "model": self.model,
            "check": self.check,
            "name": self.name,
            "unit": self.unit,
            "first": self.comparable[0].value,
            "median": self.median,
            "last": self.points[-1].value,
            "change": self.change,
            "noise": self.noise,
            "regression": self.regression,
            "bound": asdict(self.bound) if self.bound else None,
            "points": [asdict(point) for point in self.points],
        }


def validations(place: Place | None = None) -> tuple[Kept, ...]:
    """All kept validations, newest first. Raises ``UsageError`` where they cannot be read."""
    where = place or default_place()
    if not exists(where):
        return ()
    with opened(where) as database:
        counts: dict[tuple[int, str], dict[Verdict, int]] = {}
        for run, kind, verdict, count in database.rows(
            "SELECT validation, kind, verdict, count(*) FROM subjects "
            "WHERE kind IN ('host', 'gpu') GROUP BY validation, kind, verdict"
        ):
            counts.setdefault((run, kind), {})[verdict] = count
        rows = database.rows(
            "SELECT id, campaign, started, seconds, verdict FROM validations "
            "ORDER BY started DESC, id DESC"
        )
    return tuple(
        Kept(run=run, campaign=campaign, started=started, seconds=seconds, verdict=verdict,
             hosts=counts.get((run, "host"), {}), gpus=counts.get((run, "gpu"), {}))
        for run, campaign, started, seconds, verdict in rows
    )  # fmt: skip


def of_gpu(number: str, check: str | None = None, place: Place | None = None) -> tuple[Trend, ...]:
    """The trends of a GPU by its serial number, in whichever hosts it was.

    Raises ``UsageError`` where it, or the check, was never validated.
    """
    with _read(place) as database:
        known = [
            one for (one,) in database.rows("SELECT DISTINCT serial FROM subjects WHERE kind='gpu'")
        ]
        if number not in known:
            raise _unknown("GPU", number, known)
        return _checked(_trends(database, [("gpu", number)]), check)


def of_host(host: str, check: str | None = None, place: Place | None = None) -> tuple[Trend, ...]:
    """The trends of a host and all that was in it when it was last validated.

    Raises ``UsageError`` where it, or the check, was never validated.
    """
    with _read(place) as database:
        parts = database.rows(
            """
            SELECT kind, serial FROM subjects WHERE host = :host AND validation = (
                SELECT v.id FROM validations v JOIN subjects s ON s.validation = v.id
                WHERE s.host = :host ORDER BY v.started DESC, v.id DESC LIMIT 1)
            ORDER BY nth
            """,
            host=host,
        )
        if not parts:
            known = [one for (one,) in database.rows("SELECT DISTINCT host FROM subjects")]
            raise _unknown("host", host, known)
        return _checked(_trends(database, [(kind, one) for kind, one in parts]), check)


@contextmanager
def _read(place: Place | None) -> Iterator[Database]:
    where = place or default_place()
    if exists(where):
        with opened(where) as database:
            if database.rows("SELECT 1 FROM validations LIMIT 1"):
                yield database
                return
    raise UsageError(f"no validation was kept in {shown(where)}", hint="`aiprov validate` first")


def _unknown(what: str, name: str, known: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=5) or sorted(known)[:5]
    return UsageError(
        f"{what} {name} was never validated", hint=f"known are {', '.join(near)} and others"
        if len(known) > len(near) else f"known: {', '.join(near) or 'none'}",
    )  # fmt: skip


def _checked(trends: tuple[Trend, ...], check: str | None) -> tuple[Trend, ...]:
    if check is None:
        return trends
    found = tuple(trend for trend in trends if trend.check == check)
    if not found:
        raise _unknown("check", check, sorted({trend.check for trend in trends}))
    return found


# ---------------------------------------------------------------- making them


def _trends(database: Database, parts: Sequence[tuple[str, str]]) -> tuple[Trend, ...]:
    """The trends of parts, by kind and serial number, in their order."""
    found: dict[tuple[str, str, str, str], Trend] = {}
    points: dict[tuple[str, str, str, str], list[Point]] = {}
    newest: dict[tuple[str, str], int] = {}
    those, values = among(list(dict.fromkeys(one for _, one in parts)))
    for kind, one, check, name, unit, label, model, *point in database.rows(
        "SELECT kind, serial, check_name, name, unit, label, model, run, at, host, software, "  # noqa: S608
        f"value, verdict FROM measured WHERE serial {those} ORDER BY at, run",
        **values,
    ):
        key = (kind, one, check, name)
        run, at, host, software, value, verdict = point
        points.setdefault(key, []).append(
            Point(run=run, at=at, host=host, software=software, value=value, verdict=verdict)
        )
        newest[kind, one] = run
        found[key] = Trend(
            subject=_subject(host, kind, one, label), model=model, check=check, name=name, unit=unit
        )
    order = {part: nth for nth, part in enumerate(parts)}
    by_run: dict[int, list[Trend]] = {}
    for key in sorted((key for key in found if key[:2] in order), key=lambda key: key[2:]):
        trend = replace(found[key], points=tuple(points[key]))
        by_run.setdefault(newest[key[:2]], []).append(trend)
    made = [
        trend
        for run, trends in by_run.items()
        for trend in _judged(run, trends, _past(database, run))
    ]
    return tuple(sorted(made, key=lambda one: order[one.subject.kind, one.subject.serial]))


def _subject(host: str, kind: str, one: str, label: str) -> Subject:
    known = next(item for item in _KINDS if item == kind)
    return Subject(host=host, kind=known, id="" if known == "host" else one, label=label)


def _past(database: Database, run: int) -> Past:
    """What all parts of a validation were compared with."""
    ((campaign,),) = database.rows("SELECT campaign FROM validations WHERE id = :run", run=run)
    software = {
        _subject(host, kind, one, label): told
        for host, kind, one, label, told in database.rows(
            "SELECT host, kind, serial, label, software FROM subjects WHERE validation = :run",
            run=run,
        )
    }
    return before(database, software, campaign)


def _judged(run: int, trends: Sequence[Trend], past: Past) -> Iterator[Trend]:
    """Trends with their noise, and with what the fleet's judgement asks of values of this run."""
    histories: dict[tuple[str, str], list[Sequence[float]]] = {}
    for (_, check, name), values in past.items():
        histories.setdefault((check, name), []).append(values)
    asked = judged([_check(trend) for trend in trends], [], {}, past)
    for trend, answer in zip(trends, asked, strict=True):
        noise = pooled_noise(histories.get((trend.check, trend.name), ()), Metric(name=trend.name))
        bounds = answer.measurements[0].bounds if trend.points[-1].run == run else ()
        yield replace(trend, noise=noise, bound=next(iter(bounds), None))


def _check(trend: Trend) -> Check:
    """The newest value alone, without bounds; of its serial number, as a host has none itself."""
    item = Measurement(
        name=trend.name, value=trend.points[-1].value, unit=trend.unit, required=False
    )
    subject = replace(trend.subject, id=trend.subject.serial)
    return Check(name=trend.check, subject=subject, measurements=(item,))
