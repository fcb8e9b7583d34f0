"""Checks as JSON and back. A reader trusts the numbers, not the verdict that stands beside them.

Readers ignore properties that they do not know and refuse another major ``format_version``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aiprov import FORMAT_VERSION
from aiprov.checks.model import (
    Bound,
    Check,
    Evidence,
    Measurement,
    Subject,
    Verdict,
    by_subject,
    verdict_of,
)
from aiprov.errors import UsageError

_HINT = "it was written by another program, or changed since: validate again"


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as a JSON document, sorted by subject and name."""
    ordered = sorted(checks, key=lambda check: (check.subject, check.name))
    return {
        "format_version": FORMAT_VERSION,
        "verdict": verdict_of(ordered),
        "subjects": [
            {**asdict(subject), "verdict": verdict}
            for subject, verdict in by_subject(ordered).items()
        ],
        "checks": [_check(check) for check in ordered],
    }


def checks_from(told: Mapping[str, Any]) -> tuple[Check, ...]:
    """The checks of a document.

    Raises ``UsageError`` for another format, and where a verdict is not what its numbers say.
    """
    same_format(told, "checks")
    try:
        checks = tuple(_check_from(item) for item in told["checks"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the document of checks makes no sense ({type(error).__name__}: {error})", hint=_HINT
        ) from error
    same_verdict(told, verdict_of(checks))
    return checks


def same_format(told: Mapping[str, Any], what: str, way_out: str = "") -> None:
    """Raise ``UsageError`` for a document of another major ``format_version``."""
    found = told.get("format_version")
    if str(found or "").partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise UsageError(
            f"{what} of format_version {found!r} cannot be read",
            hint=f"this aiprov reads {FORMAT_VERSION}{way_out}",
        )


def same_verdict(told: Mapping[str, Any], verdict: Verdict) -> None:
    """Raise ``UsageError`` where a document says another verdict than its numbers."""
    if told.get("verdict") != verdict:
        raise UsageError(
            f"the document says {told.get('verdict')!r}, its checks {verdict!r}", hint=_HINT
        )


def _check(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "subject": asdict(check.subject),
        "verdict": check.verdict,
        "why": list(check.why),
        "error": check.error,
        "action": check.action,
        "seconds": round(check.seconds, 3),
        "not_tested": list(check.not_tested),
        "measurements": [_measurement(item) for item in check.measurements],
        "evidence": [asdict(item) for item in check.evidence],
    }


def _measurement(item: Measurement) -> dict[str, Any]:
    value, reason = item.value, item.reason
    if isinstance(value, float) and not math.isfinite(value):
        value, reason = None, item.problem  # JSON has no such numbers
    return {
        "name": item.name,
        "value": value,
        "unit": item.unit,
        "required": item.required,
        "reason": reason,
        "bounds": [asdict(bound) for bound in item.bounds],
        "verdict": item.verdict,
        "margin": item.margin,
    }


def _check_from(told: Mapping[str, Any]) -> Check:
    check = Check(
        name=told["name"],
        subject=Subject(**known(Subject, told["subject"])),
        measurements=tuple(_measurement_from(item) for item in told["measurements"]),
        error=told["error"],
        evidence=tuple(Evidence(**known(Evidence, item)) for item in told["evidence"]),
        not_tested=tuple(told["not_tested"]),
        action=told["action"],
        seconds=told["seconds"],
    )
    if check.verdict != told["verdict"]:
        raise UsageError(
            f"{check.subject}: {check.name}: the document says {told['verdict']!r}, its numbers "
            f"{check.verdict!r}",
            hint=_HINT,
        )
    return check


def _measurement_from(told: Mapping[str, Any]) -> Measurement:
    bounds = tuple(Bound(**known(Bound, item)) for item in told["bounds"])
    return Measurement(**{**known(Measurement, told), "bounds": bounds})


def known(kind: type, told: Mapping[str, Any]) -> dict[str, Any]:
    """What of a document a dataclass has; the rest is of a newer aiprov."""
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: value for name, value in told.items() if name in fields}
