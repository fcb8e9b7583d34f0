"""A fleet as people look for it: hosts in the order of their names, and in each its GPUs by number.

Checks name a GPU by its serial number, or by its address where it told none: both are the same GPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiprov.checks.model import VERDICTS, Check, Subject, SubjectKind, Verdict, verdict_of, worst
from aiprov.checks.validation import Coverage, Gpu, HostRun, Series, Validation

Key = tuple[str, SubjectKind, str]

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A host's own part, a GPU, a link or an adapter, with all that is known of it."""

    subject: Subject
    anchor: str
    verdict: Verdict
    checks: tuple[Check, ...]
    gpu: Gpu | None
    series: tuple[Series, ...]
    coverage: Coverage | None

    @property
    def name(self) -> str:
        """What it is called on its host."""
        return self.subject.label or self.subject.id or "host"

    @property
    def size(self) -> int:
        """How many rows it takes to show it."""
        return sum(1 + len(check.measurements) + len(check.evidence) for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host. ``verdict``: the worst of all that is in it, and of whether it is done."""

    name: str
    anchor: str
    run: HostRun | None
    verdict: Verdict
    own: Place | None
    gpus: tuple[Place, ...]
    others: tuple[Place, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        """All that is in it."""
        return ((self.own,) if self.own else ()) + self.gpus + self.others

    @property
    def done(self) -> bool:
        """Whether it was validated to the end."""
        return self.run is not None and self.run.status == "done"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All hosts, in the order of their names."""

    hosts: tuple[Host, ...]
    anchors: Mapping[Key, str]
    known: Mapping[tuple[str, str], Gpu]

    @property
    def places(self) -> list[Place]:
        """All that was judged."""
        return [place for host in self.hosts for place in host.places]

    def anchor(self, subject: Subject) -> str:
        """Where on the page a subject is."""
        return self.anchors.get(_key(subject, self.known), "")


def fleet(validation: Validation) -> Fleet:
    """The fleet of a validation."""
    known: dict[tuple[str, str], Gpu] = {}
    for gpu in validation.gpus:
        for name in (gpu.address, gpu.subject.id):
            known[gpu.subject.host, name] = gpu
    checks: dict[Key, list[Check]] = {_key(gpu.subject, known): [] for gpu in validation.gpus}
    subjects: dict[Key, Subject] = {}
    for check in validation.checks:
        key = _key(check.subject, known)
        subjects.setdefault(key, check.subject)
        checks.setdefault(key, []).append(check)
    subjects.update({_key(gpu.subject, known): gpu.subject for gpu in validation.gpus})
    series: dict[Key, list[Series]] = {}
    for one in validation.series:
        series.setdefault(_key(one.subject, known), []).append(one)
    coverage = {_key(one.subject, known): one for one in validation.coverage}
    runs = {run.host: run for run in validation.hosts}
    names = sorted({*runs, *(key[0] for key in checks)}, key=natural)
    by_host: dict[str, list[Place]] = {}
    for number, key in enumerate(sorted(checks, key=lambda key: (key[0], key[1], key[2]))):
        place = Place(
            subject=subjects[key],
            anchor=f"s{number}",
            verdict=verdict_of(checks[key]),
            checks=tuple(sorted(checks[key], key=_worst_first)),
            gpu=known.get((key[0], key[2])) if key[1] == "gpu" else None,
            series=tuple(series.get(key, ())),
            coverage=coverage.get(key),
        )
        by_host.setdefault(key[0], []).append(place)
    hosts = tuple(
        _host(name, f"h{number}", runs.get(name), by_host.get(name, ()))
        for number, name in enumerate(names)
    )
    anchors = {_key(place.subject, known): place.anchor for host in hosts for place in host.places}
    for host in hosts:
        anchors[host.name, "host", ""] = host.anchor
    return Fleet(hosts=hosts, anchors=anchors, known=known)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """``gpu9`` comes before ``gpu10``."""
    return tuple(
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part)
        for part in _DIGITS.split(name)
        if part
    )


def _key(subject: Subject, known: Mapping[tuple[str, str], Gpu]) -> Key:
    gpu = known.get((subject.host, subject.id)) if subject.kind == "gpu" else None
    return subject.host, subject.kind, gpu.subject.id if gpu else subject.id


def _worst_first(check: Check) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    return VERDICTS.index(check.verdict), natural(check.name)


def _host(name: str, anchor: str, run: HostRun | None, places: Sequence[Place]) -> Host:
    ordered = sorted(places, key=lambda place: natural(place.name))
    verdicts: list[Verdict] = [place.verdict for place in places]
    if run is None or run.status != "done":
        verdicts.append("not measured")
    return Host(
        name=name,
        anchor=anchor,
        run=run,
        verdict=worst(verdicts),
        own=next((place for place in ordered if place.subject.kind == "host"), None),
        gpus=tuple(place for place in ordered if place.subject.kind == "gpu"),
        others=tuple(place for place in ordered if place.subject.kind in ("link", "nic")),
    )
