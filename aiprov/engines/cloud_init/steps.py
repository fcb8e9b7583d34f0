"""From wanted resources to the steps that the host takes at its first boot.

A pristine image has no state to plan from, so each step carries the question and the change: the
host asks itself, and acts where it differs. Order in is order out, with three exceptions that
the planner makes as well: a file that a package delivers comes after that package, a service
comes after all files that it reads, and neighbouring packages go in together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from aiprov.engines.cloud_init.order import in_order, native_prefix, plain_files, watchers
from aiprov.merge import has_secret, merged
from aiprov.plain_files import grub_file, module_file, repository_files, sysctl_file
from aiprov.resources import (
    Absent,
    AptRepository,
    BootedWith,
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
    PathExists,
    Question,
    Reboot,
    Resource,
    Secret,
    Service,
    Succeeds,
    Sysctl,
    UpToDate,
    User,
    address,
)
from aiprov.survey.facts import Family

Step = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FirstBoot:
    """What cloud-init writes itself before anything runs (``native``), and what follows."""

    native: tuple[File, ...]
    steps: tuple[Step, ...]
    written: tuple[str, ...]
    """Addresses of resources whose files cloud-init wrote: for what runs when they change."""


def first_boot(resources: Sequence[Resource], family: Family) -> FirstBoot:
    """The resources, each wanted once, as what cloud-init writes and the steps after it."""
    ordered = in_order(resources)
    watched = watchers(ordered)
    native, rest = native_prefix(ordered, watched)
    steps = tuple(_steps(rest, family, watched, fetched_for=native))
    files = tuple(file for item in native for file in plain_files(item))
    return FirstBoot(native=files, steps=steps, written=tuple(address(item) for item in native))


# ---------------------------------------------------------------- steps


def _steps(
    resources: Sequence[Resource],
    family: Family,
    watched: Mapping[str, str],
    fetched_for: Sequence[Resource],
) -> Iterator[Step]:
    """Package lists are fetched before the first package and after each new repository."""
    manager = "apt" if family == "debian" else "dnf"
    listed = False
    packages: list[Package] = []
    for item in resources:
        if isinstance(item, Package):
            if packages and not _together(packages, item):
                yield _packages(packages, manager)
                packages = []
            if not listed:
                yield _lists(manager, fetched_for)
                listed, fetched_for = True, ()
            packages.append(item)
            continue
        if packages:
            yield _packages(packages, manager)
            packages = []
        if isinstance(item, AptRepository | DnfRepository):
            yield from (_file(file, watched) for file in repository_files(item))
            listed, fetched_for = False, (*fetched_for, item)
            continue
        yield {"address": address(item), **_step(item, family, watched)}
    if packages:
        yield _packages(packages, manager)
    if not listed and fetched_for:
        yield _lists(manager, fetched_for)


def _together(packages: Sequence[Package], package: Package) -> bool:
    """Whether the package goes into the same transaction: the same way, and waiting for none."""
    waits = set(package.waits_for) & {address(item) for item in packages}
    return packages[-1].absent == package.absent and not waits


def _lists(manager: str, repositories: Sequence[Resource]) -> Step:
    covers = [address(item) for item in repositories if not isinstance(item, File)]
    return {
        "kind": "PackageLists",
        "address": "PackageLists",
        "manager": manager,
        "covers": ["PackageLists", *covers],
    }


def _packages(packages: Sequence[Package], manager: str) -> Step:
    wanted = [
        {
            "name": p.name,
            "version": p.version,
            "hold": p.hold,
            **({"together": p.together} if p.together else {}),
            **({"at_least": p.at_least} if p.at_least else {}),
        }
        for p in packages
    ]
    covers = [address(package) for package in packages]
    return {
        "kind": "Packages",
        "address": ", ".join(covers),
        "covers": covers,
        "manager": manager,
        "absent": packages[0].absent,
        "packages": wanted,
    }


def _step(resource: Resource, family: Family, watched: Mapping[str, str]) -> Step:
    match resource:
        case File():
            return _file(resource, watched)
        case Directory():
            return {"kind": "Directory", "path": resource.path, **_ownership(resource)}
        case Link():
            return {"kind": "Link", "path": resource.path, "target": resource.target}
        case Absent():
            return _absent(resource, watched)
        case KernelModule():
            file = _file(module_file(resource), watched)
            return {"kind": "KernelModule", "name": resource.name, "file": file}
        case Sysctl():
            file = _file(sysctl_file(resource), watched)
            value = {"key": resource.key, "value": resource.value}
            return {"kind": "Sysctl", **value, "file": file}
        case KernelArgument():
            return _kernel_argument(resource, family)
        case Service():
            return _service(resource, watched)
        case User():
            return _user(resource)
        case Group():
            settings = {"name": resource.name, "gid": resource.gid, "system": resource.system}
            return {"kind": "Group", **settings}
        case Command():
            return {
                "kind": "Command",
                "argv": list(resource.argv),
                **_stdin(resource),
                **_asked(resource),
            }
        case Reboot():
            return {"kind": "Reboot", **_asked(resource)}
        case Package() | AptRepository() | DnfRepository():
            raise TypeError(f"{address(resource)} is no step of its own")
        case _:
            assert_never(resource)


def _file(file: File, watched: Mapping[str, str]) -> Step:
    step: Step = {"kind": "File", "address": address(file), "path": file.path, **_ownership(file)}
    if file.validate is not None:
        step["validate"] = list(file.validate)
    if file.path in watched:
        step["keep_previous"] = True
    match file.content:
        case Merge() as merge:
            values = _revealed(merge.values)
            fresh = merged(merge, None)
            secret = {"secret": True} if has_secret(merge.values) else {}
            return {**step, "format": merge.format, "values": values, "fresh": fresh, **secret}
        case Secret() as secret:
            return {**step, "content": secret.reveal(), "secret": True}
        case str() as text:
            return {**step, "content": text}


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: _revealed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(item) for item in value]
    return value


def _ownership(resource: File | Directory) -> Step:
    return {"mode": f"{resource.mode:04o}", "owner": resource.owner, "group": resource.group}


def _absent(resource: Absent, watched: Mapping[str, str]) -> Step:
    step: Step = {"kind": "Absent", "path": resource.path}
    return {**step, "keep_previous": True} if resource.path in watched else step


def _kernel_argument(resource: KernelArgument, family: Family) -> Step:
    step: Step = {"kind": "KernelArgument", "absent": resource.absent}
    if family == "redhat":
        return {**step, "loader": "grubby", "argument": resource.argument}
    return {**step, "loader": "grub", "file": _file(grub_file(resource), {})}


def _service(resource: Service, watched: Mapping[str, str]) -> Step:
    return {
        "kind": "Service",
        "name": resource.name,
        "enabled": resource.enabled,
        "running": resource.running,
        "masked": resource.masked,
        "restart_on": list(resource.restart_on),
        "releases": [path for path in resource.restart_on if watched[path] == resource.name],
    }


def _user(resource: User) -> Step:
    return {
        "kind": "User",
        "name": resource.name,
        "uid": resource.uid,
        "group": resource.group,
        "groups": list(resource.groups),
        "home": resource.home,
        "shell": resource.shell,
        "system": resource.system,
        "create_home": not resource.system,
    }


def _stdin(command: Command) -> Step:
    if command.stdin is None:
        return {}
    return {"stdin": command.stdin.reveal(), "hidden": list(command.stdin.hidden())}


def _asked(resource: Command | Reboot) -> Step:
    after = list(resource.after)
    if isinstance(resource.unless, UpToDate):
        after += [f"{kind}[{p}]" for p in resource.unless.inputs for kind in ("File", "Absent")]
    return {"unless": question(resource.unless), "after": after}


def question(asked: Question) -> Step:
    """The question as the host reads it."""
    match asked:
        case Succeeds():
            return {"ask": "Succeeds", "argv": list(asked.argv)}
        case PathExists():
            return {"ask": "PathExists", "path": asked.path, "absent": asked.absent}
        case UpToDate():
            return {"ask": "UpToDate", "output": asked.output, "inputs": list(asked.inputs)}
        case BootedWith():
            return {"ask": "BootedWith", "argument": asked.argument}
        case _:
            assert_never(asked)
