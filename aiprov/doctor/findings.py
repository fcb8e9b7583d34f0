"""What a diagnosis is made of: findings with evidence and remedy, and what could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from aiprov.doctor.observed import Observed

Severity = Literal["problem", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")
"""The worst first."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong, or may become so.

    ``evidence`` quotes what the host said, each line with its command or file first.
    """

    severity: Severity
    cause: str
    evidence: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Something that could not be looked at, and why: it is not known to be right."""

    what: str
    why: str


Answers = Iterator[Finding | Unseen]


@dataclass(frozen=True, kw_only=True)
class Area:
    """Causes that belong together. ``title`` is what was looked at, as a person would say it."""

    title: str
    causes: tuple[Callable[[Observed], Answers], ...]
    applies: Callable[[Observed], bool] = lambda _seen: True


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is wrong with a host, the worst first; what was looked at, and what could not be."""

    findings: tuple[Finding, ...] = ()
    looked_at: tuple[str, ...] = ()
    unseen: tuple[Unseen, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings because of which the GPUs do not do what they should."""
        return tuple(item for item in self.findings if item.severity == "problem")

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "findings": [
                {
                    "severity": item.severity,
                    "cause": item.cause,
                    "evidence": list(item.evidence),
                    "remedy": item.remedy,
                }
                for item in self.findings
            ],
            "looked_at": list(self.looked_at),
            "not_looked_at": [{"what": item.what, "why": item.why} for item in self.unseen],
        }
