"""A run as one JSON document: plan, outcomes and errors of every host, without any secret.

Readers ignore properties that they do not know and refuse another major ``format_version``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiprov import FORMAT_VERSION
from aiprov.converge import HostResult
from aiprov.outcome import Outcome
from aiprov.plan import Change, HostPlan, Unknown
from aiprov.resources import File, Secret, address, kind
from aiprov.shown import without_passwords

HIDDEN = "(secret)"


def run_document(
    verb: str, results: Sequence[HostResult], *, started: datetime, seconds: float
) -> dict[str, Any]:
    """The whole run. Hosts are sorted by name, keys by the encoder."""
    ordered = sorted(results, key=lambda result: result.host)
    return {
        "format_version": FORMAT_VERSION,
        "verb": verb,
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "summary": summary(ordered),
        "hosts": {result.host: host_document(result) for result in ordered},
    }


def summary(results: Sequence[HostResult]) -> dict[str, int]:
    """How many hosts ended in which status, and how many changes were made or are pending."""
    counts = dict.fromkeys(("unchanged", "pending", "changed", "failed", "unreachable"), 0)
    for result in results:
        counts[result.status] += 1
    return {
        "hosts": len(results),
        **counts,
        "changes_made": sum(result.changed for result in results),
        "changes_pending": sum(
            len(result.plan.changes) + len(result.plan.unknown)
            for result in results
            if result.plan is not None and result.status == "pending"
        ),
    }


def host_document(result: HostResult) -> dict[str, Any]:
    """One host: its status, its first plan, what was done, and its error."""
    return {
        "status": result.status,
        "seconds": round(result.seconds, 3),
        "stages": result.stages,
        "os": result.facts.os_name if result.facts else None,
        "kernel": result.facts.kernel if result.facts else None,
        "plan": plan_document(result.plan) if result.plan else None,
        "outcomes": [_outcome(outcome) for outcome in result.outcomes],
        "rolled_back": list(result.rolled_back),
        "error": _error(result),
    }


def plan_document(plan: HostPlan) -> dict[str, Any]:
    """A plan in stages: what is known now, then what is unknown until something has happened."""
    stages: list[dict[str, Any]] = []
    if plan.changes:
        stages.append({"changes": [change_document(change) for change in plan.changes]})
    for until in dict.fromkeys(item.until for item in plan.unknown):
        waiting = [_unknown(item) for item in plan.unknown if item.until == until]
        stages.append({"unknown_until": until, "resources": waiting})
    return {
        "stages": stages,
        "unchanged": plan.unchanged,
        "skipped": [{"role": item.role, "reason": item.reason} for item in plan.skipped],
        "notes": [{"level": note.level, "text": note.text} for note in plan.notes],
    }


def change_document(change: Change) -> dict[str, Any]:
    """One change. States are cut to what is compared; file contents appear as a diff only."""
    secret = is_secret(change)
    shown = [key for key in change.after if not (secret and key == "sha256")]
    return {
        "role": change.role,
        "kind": change.kind,
        "address": change.address,
        "reason": change.reason,
        "before": {key: change.before.get(key) for key in shown},
        "after": {key: change.after[key] for key in shown},
        "diff": HIDDEN if secret else difference(change),
    }


def is_secret(change: Change) -> bool:
    """Whether the change writes a value that must not be shown."""
    return isinstance(change.resource, File) and isinstance(change.resource.content, Secret)


def difference(change: Change) -> str | None:
    """What differs: of a file its diff, of a command what the host said of it."""
    return "".join(f"{line}\n" for line in said_more(change)) or file_diff(change)


def said_more(change: Change) -> list[str]:
    """What a command's question said, where that is more than the reason tells."""
    said = [str(line) for line in change.before.get("said", ())]
    return [] if said == [change.reason] else said


def file_diff(change: Change) -> str | None:
    """A unified diff of the file's text; ``None`` where there is nothing to show."""
    resource = change.resource
    if not isinstance(resource, File) or not isinstance(resource.content, str):
        return None
    before = change.before.get("content") or ""
    if change.before.get("type") == "file" and change.before.get("content") is None:
        return None
    lines = difflib.unified_diff(
        without_passwords(before).splitlines(keepends=True),
        without_passwords(resource.content).splitlines(keepends=True),
        fromfile=resource.path if change.before.get("type") == "file" else "/dev/null",
        tofile=resource.path,
        n=2,
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines) or None


def _unknown(item: Unknown) -> dict[str, Any]:
    return {"role": item.role, "kind": kind(item.resource), "address": address(item.resource)}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        **change_document(outcome.change),
        "status": outcome.status,
        "message": outcome.message,
        "seconds": round(outcome.seconds, 3),
    }


def _error(result: HostResult) -> Mapping[str, Any] | None:
    if result.error is None:
        return None
    return {"message": result.error.message, "hint": result.error.hint}
