"""A host's result as the result of an Ansible task: what callbacks, ``--diff`` and AWX show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiprov.converge import HostResult
from aiprov.plain_files import repository_files
from aiprov.plan import Change
from aiprov.report.document import HIDDEN, is_secret, said_more
from aiprov.resources import (
    Absent,
    AptRepository,
    DnfRepository,
    File,
    address,
)
from aiprov.shown import without_passwords


def task_result(result: HostResult) -> dict[str, Any]:
    """What the task returns: whether it changed (or would change) something, and what."""
    return {
        "changed": result.status == "pending" or result.changed > 0,
        "plan": list(_lines(result)),
        "stages": result.stages,
    }


def task_diff(result: HostResult) -> list[dict[str, str]]:
    """Entries for ``--diff``: files as they were and will be, of other things the state."""
    entries = [_entry(change) for change in _changes(result)]
    if not result.outcomes and result.plan is not None and result.plan.unknown:
        lines = [
            f"{address(item.resource)}: unknown until {item.until}\n"
            for item in result.plan.unknown
        ]
        entries.append({"prepared": "".join(lines)})
    return entries


def _changes(result: HostResult) -> Iterable[Change]:
    if result.outcomes:
        return [outcome.change for outcome in result.outcomes if outcome.status == "done"]
    return result.plan.changes if result.plan is not None else ()


def _lines(result: HostResult) -> Iterator[str]:
    if result.outcomes:
        for outcome in result.outcomes:
            yield f"{outcome.status}: {outcome.change.address}: {outcome.change.reason}"
    elif result.plan is not None:
        for change in result.plan.changes:
            yield f"{change.address}: {change.reason}"
        for item in result.plan.unknown:
            yield f"{address(item.resource)}: unknown until {item.until}"
    for note in result.plan.notes if result.plan is not None else ():
        yield f"{note.level}: {note.text}"


def _entry(change: Change) -> dict[str, str]:
    before, after = _texts(change)
    return {
        "before_header": change.address,
        "after_header": f"{change.address}: {change.reason}",
        "before": before,
        "after": after,
    }


def _texts(change: Change) -> tuple[str, str]:
    before, after = _whole_texts(change)
    return without_passwords(before), without_passwords(after)


def _whole_texts(change: Change) -> tuple[str, str]:
    if is_secret(change):
        return f"{HIDDEN}, as it is\n", f"{HIDDEN}, as wanted\n"
    resource, before = change.resource, change.before
    same_text = before.get("sha256") == change.after.get("sha256")
    if isinstance(resource, File) and isinstance(resource.content, str) and not same_text:
        return before.get("content") or "", resource.content
    if isinstance(resource, AptRepository | DnfRepository):
        was = "another version of it\n" if any(before.get("files", ())) else ""
        return was, str(repository_files(resource)[-1].content)
    if isinstance(resource, Absent) and before.get("content"):
        return before["content"], ""
    if said := said_more(change):
        return "".join(f"{line}\n" for line in said), ""
    keys = [key for key in change.after if before.get(key) != change.after[key]]
    if before.get("type") == "absent":
        keys = ["type"]
    return _state(before, keys), _state(change.after, change.after if "type" in keys else keys)


def _state(state: Mapping[str, Any], keys: Iterable[str]) -> str:
    return "".join(f"{key}: {_shown(key, state[key])}\n" for key in keys if key in state)


def _shown(key: str, value: Any) -> str:
    if key == "mode" and isinstance(value, int):
        return f"{value:04o}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
