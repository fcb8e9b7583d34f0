"""The mapping: from a change to the Ansible modules that make it. Pure; the heart of the engine.

Files are written by ``copy`` (staged, validated, moved into place), packages by ``apt`` or ``dnf``,
units by ``systemd_service``. What ansible-core has no module for (sysctl, kernel modules and
arguments) is a plain file and one command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, assert_never

from aiprov.engines.ansible.calls import WHILE_LOCKED, Again, ModuleCall, Step, command
from aiprov.engines.ansible.packages import goes_out, transaction
from aiprov.engines.ansible.paths import expanded, path_calls, removed, repository_calls, write
from aiprov.plain_files import grub_file, module_file, sysctl_file
from aiprov.plan import Change
from aiprov.resources import (
    STAGED,
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
    Package,
    Reboot,
    Resource,
    Service,
    Sysctl,
    User,
)
from aiprov.survey.facts import Family

_RUNS = r"(NRestarts=0\s+)?ActiveState=active"
_STARTING = Again(
    stream="stdout",
    while_it_says=r"^(NRestarts=0\s+)?ActiveState=(activating|reloading|refreshing|maintenance)",
    times=90,
    delay_s=1,
)


def steps(changes: Sequence[Change], family: Family) -> list[Step]:
    """All changes as steps, in order. Neighbouring packages that go the same way are one step."""
    found: list[Step] = []
    for (packages, _), group in groupby(changes, key=_neighbours):
        if packages:
            together = tuple(group)
            found.append(Step(changes=together, calls=transaction(together, family)))
        else:
            found += [Step(changes=(one,), calls=tasks(one, family)) for one in group]
    return found


def _neighbours(change: Change) -> tuple[bool, bool]:
    return isinstance(change.resource, Package), goes_out(change)


def tasks(change: Change, family: Family) -> list[ModuleCall]:
    """The calls that make one change, in order."""
    return list(_calls(change, change.resource, family))


def unsupported(resource: Resource) -> str | None:
    """Why Ansible's modules cannot express the resource; ``None`` when they can."""
    if (path := expanded(resource)) is not None:
        return f"Ansible's modules would expand variables in {path}"
    if isinstance(resource, File) and resource.validate is not None:
        uses = sum(argument.count(STAGED) for argument in resource.validate)
        if uses != 1:
            return f"Ansible's copy wants {STAGED} exactly once in the command that validates"
        if any(argument.startswith("~") for argument in resource.validate):
            return "Ansible's copy would expand the ~ in the command that validates"
    return None


def _calls(change: Change, resource: Resource, family: Family) -> Iterator[ModuleCall]:
    match resource:
        case AptRepository() | DnfRepository():
            yield from repository_calls(change, resource)
        case Package():
            yield from transaction((change,), family)
        case File() | Directory() | Link() | Absent():
            yield from path_calls(change, resource)
        case KernelModule():
            yield from _kernel_module(change, resource)
        case Sysctl():
            yield from _sysctl(change, resource)
        case KernelArgument():
            yield from _kernel_argument(resource, family)
        case Service():
            yield from _service(change, resource)
        case User():
            yield _user(resource)
        case Group():
            yield _group(resource)
        case Command():
            lists = resource.argv[:2] == ("apt-get", "update")
            again = WHILE_LOCKED if lists else None
            yield command(f"Run {resource.name}", resource.argv, again=again, stdin=resource.stdin)
        case Reboot():
            args = {"reboot_timeout": resource.timeout_s, "msg": f"aiprov: {change.reason}"}
            yield ModuleCall(name="Reboot", module="ansible.builtin.reboot", args=args)
        case _:
            assert_never(resource)


# ---------------------------------------------------------------- kernel


def _kernel_module(change: Change, module: KernelModule) -> Iterator[ModuleCall]:
    if not change.before.get("at_boot"):
        yield from write(module_file(module))
    if not change.before.get("loaded"):
        yield command(f"Load module {module.name}", ("modprobe", "--", module.name))


def _sysctl(change: Change, sysctl: Sysctl) -> Iterator[ModuleCall]:
    if change.before.get("at_boot") != sysctl.value:
        yield from write(sysctl_file(sysctl))
    if change.before.get("value") != sysctl.value:
        assignment = f"{sysctl.key}={sysctl.value}"
        yield command(f"Set {sysctl.key}", ("sysctl", "-w", assignment))


def _kernel_argument(argument: KernelArgument, family: Family) -> Iterator[ModuleCall]:
    name = f"Take {argument.argument} off" if argument.absent else f"Put {argument.argument} on"
    if family == "redhat":
        verb = "--remove-args" if argument.absent else "--args"
        update = ("grubby", "--update-kernel=ALL", f"{verb}={argument.argument}")
        yield command(f"{name} the kernel's command line", update)
        return
    file = grub_file(argument)
    yield from (removed(file.path, "file"),) if argument.absent else write(file)
    yield command(f"{name} the kernel's command line", ("update-grub",))


# ---------------------------------------------------------------- services and accounts


def _service(change: Change, service: Service) -> Iterator[ModuleCall]:
    args: dict[str, Any] = {"name": service.name}
    if change.before.get("reload_needed"):
        args["daemon_reload"] = True
    for key in ("masked", "enabled"):
        if key in change.after and change.after[key] != change.before.get(key):
            args[key] = change.after[key]
    running = bool(change.after.get("running"))
    restart = running and bool(change.after.get("restart"))
    if restart:
        args["state"] = "restarted"
        # A unit that failed too often in a row is not started again before this.
        yield command(
            f"Forget failures of {service.name}",
            ("systemctl", "reset-failed", "--", _pattern(service.name)),
            reads=True,
        )
    elif "running" in change.after and running != bool(change.before.get("running")):
        args["state"] = "started" if running else "stopped"
    yield ModuleCall(
        name=_service_name(service, args), module="ansible.builtin.systemd_service", args=args
    )
    if restart or args.get("state") == "started":
        yield _runs(f"Wait until {service.name} is up", service.name, again=_STARTING)
        # A unit that does not tell when it is ready counts as up at once, also when it then ends.
        yield _runs(f"See that {service.name} stays up", service.name)


def _runs(name: str, unit: str, again: Again | None = None) -> ModuleCall:
    argv = ("systemctl", "show", "--property=ActiveState,NRestarts", "--", unit)
    return replace(command(name, argv, reads=True, again=again), expects=_RUNS)


def _pattern(unit: str) -> str:
    """A pattern for this unit alone: to systemctl, no match is no error, an unloaded name is."""
    return f"{unit[:-1]}[{unit[-1]}]".replace("\\", "\\\\")


def _service_name(service: Service, args: dict[str, Any]) -> str:
    verb = {"restarted": "Restart", "started": "Start", "stopped": "Stop"}
    return f"{verb.get(args.get('state', ''), 'Set up')} {service.name}"


def _user(user: User) -> ModuleCall:
    args: dict[str, Any] = {"name": user.name, "create_home": not user.system}
    for key in ("uid", "group", "home", "shell"):
        if getattr(user, key) is not None:
            args[key] = getattr(user, key)
    if user.groups:
        args |= {"groups": list(user.groups), "append": True}
    if user.system:
        args["system"] = True
    return ModuleCall(name=f"Set up user {user.name}", module="ansible.builtin.user", args=args)


def _group(group: Group) -> ModuleCall:
    args: dict[str, Any] = {"name": group.name}
    if group.gid is not None:
        args["gid"] = group.gid
    if group.system:
        args["system"] = True
    return ModuleCall(name=f"Set up group {group.name}", module="ansible.builtin.group", args=args)
