"""What has to hold on a host for one resource, and how that differs from what is.

One pure function a kind: from the resource and its present state to the state that should be.
The comparison itself is the same for all kinds: keys of ``after`` whose value in ``before`` is
another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, assert_never

from aiprov.errors import UnsupportedError
from aiprov.plain_files import repository_files
from aiprov.plan import NEWEST
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    Directory,
    DnfRepository,
    File,
    Group,
    KernelArgument,
    KernelModule,
    Link,
    Merge,
    Package,
    Reboot,
    Replaces,
    Resource,
    Secret,
    Service,
    State,
    Sysctl,
    User,
)
from aiprov.shown import summary_of
from aiprov.versions import satisfies


def wanted(resource: Resource, now: State) -> State:
    """The state that the resource asks for. ``Merge`` must have been resolved before."""
    match resource:
        case AptRepository():
            return {"files": _digests(resource), "fetched": True}
        case DnfRepository():
            return {"files": _digests(resource)}
        case Package():
            return _package(resource, now)
        case File():
            return {"type": "file", "sha256": digest(resource), **_ownership(resource)}
        case Directory():
            return {"type": "directory", **_ownership(resource)}
        case Link():
            return {"type": "link", "target": resource.target}
        case Absent():
            return {"type": "absent"}
        case KernelModule():
            return {"loaded": True, "at_boot": True}
        case Sysctl():
            return {"value": resource.value, "at_boot": resource.value}
        case KernelArgument():
            return {"at_boot": not resource.absent}
        case Service():
            return _service(resource)
        case User():
            return _user(resource, now)
        case Group():
            return _managed(exists=True, gid=resource.gid)
        case Command():
            return {"done": True}
        case Reboot():
            return {"needed": False}
        case _:
            assert_never(resource)


def differing(before: State, after: State) -> tuple[str, ...]:
    """The keys of ``after`` that do not hold in ``before``."""
    return tuple(key for key, value in after.items() if before.get(key) != value)


def holds(after: State, state: State) -> bool:
    """Whether what a change promised is so now. Promises only an apply can fill in are left out."""
    for key, value in after.items():
        if key == "restart":
            continue
        if value == NEWEST:
            if state.get(key) is None:
                return False
        elif state.get(key) != value:
            return False
    return True


def text_of(file: File) -> str:
    """The file's content, secrets revealed: for digests and for the engine that writes it."""
    match file.content:
        case Secret() as secret:
            return secret.reveal()
        case Merge():
            raise TypeError(f"{file.path}: a merge has no content before it is resolved")
        case str() as text:
            return text


def refuse(resource: Resource, now: State) -> None:
    """Raises ``UnsupportedError`` where what is on the host may not become what is wanted."""
    match resource:
        case Package(replaces=Replaces() as may) if not resource.absent:
            _refuse_replacing(resource, may, now.get("version"))
        case KernelModule() if "missing_from" in now and not resource.out_of_tree:
            raise UnsupportedError(
                f"kernel {now['missing_from']}, which runs, has no module {resource.name}",
                hint=now["remedy"],
            )
        case File(never_replaced=str() as hint) if now.get("type") == "file":
            if now.get("sha256") != digest(resource):
                raise UnsupportedError(
                    "there is another one on the host, which is not to be replaced", hint=hint
                )


def _refuse_replacing(package: Package, may: Replaces, installed: str | None) -> None:
    if installed is None or satisfies(installed, package.version, package.at_least):
        return
    if not any(satisfies(installed, version) for version in may.versions):
        wanted = package.version or f"{package.at_least} or newer"
        raise UnsupportedError(
            f"{package.name} {installed} is installed, and {wanted} is wanted: it is not to be "
            "replaced by that",
            hint=may.hint,
        )


def digest(file: File) -> str:
    """The SHA-256 of a resolved file's bytes."""
    return hashlib.sha256(text_of(file).encode()).hexdigest()


def reason(resource: Resource, before: State, after: State) -> str:
    """Why the resource is changed, in a few words for a person."""
    keys = differing(before, after)
    match resource:
        case Package(absent=True):
            return "must not be installed"
        case Package():
            return _package_reason(resource, before, keys)
        case File() | Directory() | Link() | Absent():
            return _path_reason(before, after, keys)
        case AptRepository() | DnfRepository():
            return "package lists were never fetched" if keys == ("fetched",) else "not as wanted"
        case Service():
            return _service_reason(before, keys)
        case Command() | Reboot() if before.get("said"):
            told = summary_of(before["said"])
            return f"there is no telling: {told}" if before.get("untold") else told
        case Command():
            return "has not been done"
        case Reboot():
            return "is needed"
        case User() | Group() if not before.get("exists"):
            return "does not exist"
        case _:
            return "; ".join(f"{key} is {before.get(key)}, wanted {after[key]}" for key in keys)


def _digests(repository: AptRepository | DnfRepository) -> list[str]:
    return [digest(file) for file in repository_files(repository)]


def _ownership(resource: File | Directory) -> State:
    return {"mode": resource.mode, "owner": resource.owner, "group": resource.group}


def _managed(**values: Any) -> State:
    return {key: value for key, value in values.items() if value is not None}


def _package(package: Package, now: State) -> State:
    if package.absent:
        return {"version": None}
    held = {} if package.hold is None else {"hold": package.hold}
    installed = now.get("version")
    if installed is not None and satisfies(installed, package.version, package.at_least):
        return {"version": installed, **held}
    return {"version": candidate(package, now) or NEWEST, **held}


def candidate(package: Package, now: State) -> str | None:
    """The newest version on offer that meets the one asked for."""
    offers = now.get("candidates") or []

    def fits(offer: str) -> bool:
        return satisfies(offer, package.version, package.at_least)

    return next((offer for offer in offers if fits(offer)), None)


def no_candidate(package: Package, now: State) -> UnsupportedError:
    """The error for a package that no repository of the host offers as asked for."""
    offers = now.get("candidates") or []
    if not offers:
        return UnsupportedError(
            f"package {package.name}: no repository of this host offers it",
            hint="check the name, and that the repository which has it is configured",
        )
    least = f", {package.at_least} or newer" if package.at_least else ""
    asked = f"{package.version}{least}"
    shown = ", ".join(offers[:5]) + (", …" if len(offers) > 5 else "")
    return UnsupportedError(
        f"package {package.name}: no repository of this host offers version {asked}",
        hint=f"on offer: {shown}",
    )


def _service(service: Service) -> State:
    state: dict[str, Any] = dict(
        _managed(enabled=service.enabled, running=service.running, masked=service.masked)
    )
    if service.restart_on and service.running is not False and not service.masked:
        state["stale"] = []
    state["reload_needed"] = False
    return state


def _user(user: User, now: State) -> State:
    state = dict(
        _managed(exists=True, uid=user.uid, group=user.group, home=user.home, shell=user.shell)
    )
    if user.groups:
        state["groups"] = sorted({*now.get("groups", ()), *user.groups})
    return state


def _package_reason(package: Package, before: State, keys: tuple[str, ...]) -> str:
    if "version" in keys:
        if before.get("version") is None:
            return "not installed"
        if package.together is not None:
            return f"{before['version']} is installed, {package.together} is at {package.version}"
        return f"{before['version']} is installed, wanted {package.version}"
    return "not held" if package.hold else "held"


def _path_reason(before: State, after: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    if after["type"] == "absent":
        return "must not exist"
    if "type" in keys:
        present = before.get("type", "absent")
        return "does not exist" if present == "absent" else f"is a {present}"
    parts = []
    if "sha256" in keys:
        parts.append("content differs")
    if "target" in keys:
        parts.append(f"points to {before.get('target')}")
    if "mode" in keys:
        parts.append(f"mode is {before.get('mode', 0):04o}")
    parts += [f"{key} is {before.get(key)}" for key in ("owner", "group") if key in keys]
    return ", ".join(parts)


def _service_reason(before: State, keys: tuple[str, ...]) -> str:
    if not before.get("exists", True):
        return "the unit is not there yet"
    parts = []
    if "masked" in keys:
        parts.append("masked" if before.get("masked") else "not masked")
    if "enabled" in keys:
        parts.append("enabled" if before.get("enabled") else "not enabled")
    if "running" in keys:
        parts.append("running" if before.get("running") else "not running")
    if "stale" in keys:
        parts.append(f"started before {', '.join(before.get('stale', ()))} changed")
    if "reload_needed" in keys:
        parts.append("unit files changed on disk")
    return ", ".join(parts)
