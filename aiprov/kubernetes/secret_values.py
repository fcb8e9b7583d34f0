"""What is secret in objects and values of Kubernetes: it is laid on hosts, and shown to nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiprov.resources import Secret

_WRITTEN = re.compile(r"kind[\"']?\s*:\s*[\"']?Secret\b")
"""A Secret that stands in a text, as manifests within ConfigMaps do."""


def secrets_of(value: Any) -> tuple[Secret, ...]:
    """What Secrets hold that are among the objects, in a List of them, or anywhere in one."""
    return tuple(_held(value))


def everything_of(value: Any) -> tuple[Secret, ...]:
    """All that is given, but not the names by which: which of it is secret, nobody says."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        return tuple(part for one in value for part in everything_of(one))
    return (Secret(str(value)),)


def _held(value: Any) -> Iterator[Secret]:
    if isinstance(value, Mapping):
        if value.get("kind") == "Secret":
            yield from everything_of([value.get("data", ()), value.get("stringData", ())])
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _held(one)
    elif isinstance(value, str) and _WRITTEN.search(value):
        yield Secret(value)
