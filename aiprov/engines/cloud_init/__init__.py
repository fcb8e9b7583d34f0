"""Renders resources as cloud-config for a first boot; connects to nothing.

A pristine image has no state that could be planned from, so the order of the pipeline moves to
the host: cloud-init writes the leading plain files, and then a small program (``first_boot``)
that takes all other steps in their order, asking before each whether it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiprov.engines.cloud_init.document import document
from aiprov.engines.cloud_init.size import SizeReport, gzipped, size_report
from aiprov.engines.cloud_init.steps import first_boot
from aiprov.errors import UnsupportedError
from aiprov.merge import has_secret
from aiprov.plan import Desired
from aiprov.resources import (
    AptRepository,
    Command,
    DnfRepository,
    File,
    Merge,
    Resource,
    Secret,
    address,
)
from aiprov.survey.facts import Facts, Family
from aiprov.united import united

__all__ = ["NAME", "SizeReport", "gzipped", "render", "size_report", "unsupported"]

NAME = "cloud_init"

_OWN_FILES = "/var/lib/aiprov/"


def render(desired: Iterable[Desired], facts: Facts, *, allow_secrets: bool = False) -> str:
    """The cloud-config that brings a pristine image of that description to what is wanted.

    Raises ``UnsupportedError`` for what cannot be expressed, and for secrets: user-data can be
    read by whoever may see the instance's settings, and on many clouds by every process on it.
    """
    resources = [item.resource for item in united(desired)]
    for resource in resources:
        if why := unsupported(resource, family=facts.family):
            raise UnsupportedError(f"{address(resource)}: {why}", hint="use `aiprov apply`")
    if not allow_secrets:
        _refuse_secrets(resources)
    plan = first_boot(resources, facts.family)
    return document(plan, resources, _python(facts))


def unsupported(resource: Resource, *, family: Family | None = None) -> str | None:
    """Why cloud-config cannot express the resource; ``None`` when it can."""
    match resource:
        case AptRepository() if family == "redhat":
            return "the image has no apt"
        case DnfRepository() if family == "debian":
            return "the image has no dnf"
        case File(content=Merge(values=values)) if path := _no_json(values, ""):
            return f"the value of {path} has no form that a first boot can write"
        case File(path=path) if path.startswith(_OWN_FILES):
            return f"{_OWN_FILES} belongs to the first boot itself"
        case _:
            return None


def _no_json(value: Any, path: str) -> str | None:
    """Where a value is that JSON has no type for (a date, say); ``None`` when there is none."""
    if isinstance(value, Mapping):
        below = (_no_json(item, f"{path}.{key}" if path else key) for key, item in value.items())
        return next((found for found in below if found), None)
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := _no_json(item, path))), None)
    known = value is None or isinstance(value, bool | int | float | str | Secret)
    return None if known else path


def _refuse_secrets(resources: Sequence[Resource]) -> None:
    holding = [address(item) for item in resources if _holds_secret(item)]
    if holding:
        raise UnsupportedError(
            f"user-data would hold the secrets of {', '.join(holding)} in the clear",
            hint="leave them to `aiprov apply` after the boot, or accept it with --allow-secrets",
        )


def _holds_secret(resource: Resource) -> bool:
    match resource:
        case File(content=Secret()) | Command(stdin=Secret()):
            return True
        case File(content=Merge(values=values)):
            return has_secret(values)
        case _:
            return False


def _python(facts: Facts) -> str:
    """The interpreter that the image surely has: cloud-init itself runs on it."""
    if facts.family == "redhat" and facts.os_major == "8":
        return "/usr/libexec/platform-python"
    return "/usr/bin/python3"
