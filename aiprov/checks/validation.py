"""A validation that ended: its checks with what was run, what was seen meanwhile and what was not.

This is what every report, the history and the actions are made from. It is a value: it can be
written as JSON, read again, and says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from aiprov.checks import document
from aiprov.checks.model import Check, Subject, Verdict, by_subject, verdict_of, worst
from aiprov.errors import UsageError

HostStatus = Literal["done", "unreachable", "interrupted", "refused", "failed"]
"""``refused``: its GPUs are in use, or not prepared; ``failed``: its payload could not run."""


@dataclass(frozen=True, kw_only=True)
class HostRun:
    """What became of one host. ``message`` and ``hint`` say why it is not done."""

    host: str
    status: HostStatus
    seconds: float = 0.0
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as people know it: where it is, its serial number and its model."""

    subject: Subject
    model: str
    address: str = ""
    uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A curve of one subject: pairs of seconds since the validation began and the value then.

    ``name``: ``temperature``, ``memory temperature``, ``power``, ``clock`` or ``throughput``.
    """

    subject: Subject
    name: str
    unit: str
    points: tuple[tuple[float, float], ...]
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much was verified on one subject.

    ``hours`` under verified load; ``products`` verified; ``upper_per_hour``: the highest fault rate
    that still fits what was seen (95 %), ``None`` where nothing was verified; ``detection``: the
    chance to have seen a fault that comes once an hour.
    """

    subject: Subject
    hours: float
    products: int
    faults: int
    upper_per_hour: float | None
    detection: float


@dataclass(frozen=True, kw_only=True)
class Action:
    """What was done because of a verdict: ``kind`` is ``cordon``, ``drain``, ``quarantine`` …"""

    host: str
    kind: str
    done: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A run of ``aiprov validate``.

    ``started``: ISO 8601 with its zone. ``by_fault``: the chance that a fault of each kind is found
    by what the budget was spent on, given that there is one. ``not_tested``: what no check of this
    run looks at, each with its reason.
    """

    campaign: str
    started: str
    seconds: float
    hosts: tuple[HostRun, ...]
    checks: tuple[Check, ...]
    budget_s: float | None = None
    gpus: tuple[Gpu, ...] = ()
    series: tuple[Series, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    by_fault: Mapping[str, float] | None = None
    not_tested: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    self_test: bool = False

    @cached_property
    def not_done(self) -> tuple[HostRun, ...]:
        """The hosts that were not validated to the end, each with the reason.

        One that is said to be done is among them where no check tells of it, or of one of its GPUs;
        so is one that checks tell of and that is none of the hosts.
        """
        told = dict.fromkeys(check.subject.host for check in self.checks)
        known = {host.host for host in self.hosts}
        silent = self._silent()
        stray = "checks tell of it, and it is none of the hosts that were validated"
        return (
            *(host for host in self.hosts if host.status != "done"),
            *(
                replace(host, status="failed", message=silent[host.host])
                for host in self.hosts
                if host.status == "done" and host.host in silent
            ),
            *(HostRun(host=name, status="failed", message=stray)
              for name in told if name not in known),
        )  # fmt: skip

    def _silent(self) -> dict[str, str]:
        """The hosts of which, or of whose GPUs, no check tells."""
        told = {check.subject for check in self.checks}
        found = {
            gpu.subject.host: f"it is said to be done, and no check tells of {gpu.subject.label}"
            for gpu in self.gpus
            if gpu.subject not in told
        }
        hosts = {subject.host for subject in told}
        nothing = "it is said to be done, and no check tells of it"
        return {**found, **{one.host: nothing for one in self.hosts if one.host not in hosts}}

    @cached_property
    def verdict(self) -> Verdict:
        """The worst of all checks; a host that is not done, or silent, is not measured at best."""
        verdicts = [verdict_of(self.checks)]
        if not self.hosts or self.not_done:
            verdicts.append("not measured")
        return worst(verdicts)

    @cached_property
    def by_subject(self) -> dict[Subject, Verdict]:
        """The verdict on each subject; hosts that were not done are among them."""
        found = by_subject(self.checks)
        for host in self.not_done:
            subject = Subject(host=host.host)
            found[subject] = worst((found.get(subject, "ok"), "not measured"))
        return dict(sorted(found.items()))

    @property
    def document(self) -> dict[str, Any]:
        """As JSON, sorted; ``from_document`` reads it."""
        told = document.document(self.checks)
        return {
            **told,
            "verdict": self.verdict,
            "checks_verdict": told["verdict"],
            "subjects": [
                {**asdict(subject), "verdict": verdict}
                for subject, verdict in self.by_subject.items()
            ],
            "campaign": self.campaign,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "budget_s": self.budget_s,
            "hosts": [asdict(host) for host in self.hosts],
            "gpus": [asdict(gpu) for gpu in self.gpus],
            "series": [asdict(one) for one in self.series],
            "coverage": [asdict(one) for one in self.coverage],
            "by_fault": dict(self.by_fault or {}),
            "not_tested": list(self.not_tested),
            "actions": [asdict(one) for one in self.actions],
            "self_test": self.self_test,
            "verb": "validate",
        }


def from_document(told: Mapping[str, Any]) -> Validation:
    """The validation of a document. Raises ``UsageError`` for one that is not, or was changed."""
    checks = document.checks_from({**told, "verdict": told.get("checks_verdict")})
    try:
        made = _made(told, checks)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"the document of a validation makes no sense ({type(error).__name__}: {error})",
            hint="it was cut off, or is of another program: validate again",
        ) from error
    document.same_verdict(told, made.verdict)
    return made


def _made(told: Mapping[str, Any], checks: tuple[Check, ...]) -> Validation:
    return Validation(
        campaign=told["campaign"],
        started=told["started"],
        seconds=told["seconds"],
        hosts=tuple(HostRun(**document.known(HostRun, one)) for one in told["hosts"]),
        checks=checks,
        budget_s=told["budget_s"],
        gpus=tuple(_of(Gpu, one) for one in told["gpus"]),
        series=tuple(_series(one) for one in told["series"]),
        coverage=tuple(_of(Coverage, one) for one in told["coverage"]),
        by_fault=told["by_fault"],
        not_tested=tuple(told["not_tested"]),
        actions=tuple(Action(**document.known(Action, one)) for one in told["actions"]),
        self_test=told["self_test"],
    )


def _of(kind: type, told: Mapping[str, Any]) -> Any:
    subject = Subject(**document.known(Subject, told["subject"]))
    return kind(**{**document.known(kind, told), "subject": subject})


def _series(told: Mapping[str, Any]) -> Series:
    points: Sequence[Sequence[float]] = told["points"]
    made: Series = _of(Series, {**told, "points": tuple((at, value) for at, value in points)})
    return made
