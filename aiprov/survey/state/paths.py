"""Files, directories, links and nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from aiprov.errors import SurveyError
from aiprov.resources import Absent, Directory, File, Link, State
from aiprov.survey.facts import Facts


def state(
    facts: Facts, resource: File | Directory | Link | Absent, answer: Mapping[str, Any]
) -> State:
    """What is at the resource's path. Raises ``SurveyError`` when the host may not read it."""
    raw = at(facts, resource.path, answer)
    found: dict[str, Any] = {"type": raw["type"]}
    match resource:
        case Absent():
            return found
        case Link():
            return found | {"target": raw.get("target", "")}
        case Directory() | File():
            found |= {"mode": raw.get("mode", 0), **_owners(raw)}
    if isinstance(resource, File):
        found |= {"sha256": raw.get("sha256", ""), "content": content(resource, raw)}
    return found


def at(facts: Facts, path: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The raw answer for a path. Raises ``SurveyError``."""
    raw: Mapping[str, Any] = answer["paths"][path]
    error = raw.get("error")
    if error is not None:
        raise SurveyError(
            facts.name,
            f"{path} cannot be read: {error}",
            hint="is root needed there? set ansible_become",
        )
    return raw


def content(file: File, raw: Mapping[str, Any]) -> str | None:
    """The file's text: what was sent, or the wanted text where the file is the same."""
    sent: str | None = raw.get("content")
    same = isinstance(file.content, str) and digest(file.content) == raw.get("sha256")
    return file.content if same and isinstance(file.content, str) else sent


def digest(text: str) -> str:
    """The SHA-256 of a text as the host has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_as_wanted(facts: Facts, file: File, answer: Mapping[str, Any]) -> bool:
    """Whether a file with a plain text is there with that text."""
    return isinstance(file.content, str) and at(facts, file.path, answer).get("sha256") == digest(
        file.content
    )


def _owners(raw: Mapping[str, Any]) -> dict[str, str]:
    return {"owner": raw.get("owner", ""), "group": raw.get("group", "")}
