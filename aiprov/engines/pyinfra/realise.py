"""From changes to pyinfra operations, kind by kind."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import assert_never

from pyinfra.operations import files as pyinfra_files
from pyinfra.operations import server

from aiprov.engines.pyinfra import files, packages, system
from aiprov.engines.pyinfra.locks import patiently
from aiprov.engines.pyinfra.paths import realise_file, write
from aiprov.engines.pyinfra.services import realise_service
from aiprov.engines.pyinfra.session import LISTS_S, LONG_S, Session
from aiprov.engines.pyinfra.transactions import (
    realise_apt_repositories,
    realise_packages,
    realise_repository,
)
from aiprov.plain_files import grub_file, module_file, sysctl_file
from aiprov.plan import Change
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
    Package,
    Reboot,
    Service,
    Sysctl,
    User,
)

_PACKAGE_TOOLS = frozenset({"apt-get", "apt", "dpkg"})
_TOGETHER = (Package, AptRepository)


def batches(changes: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
    """Changes that are made together: neighbouring packages, neighbouring apt repositories."""
    for index, group in groupby(enumerate(changes), key=_batch_key):
        del index
        yield tuple(change for _, change in group)


def _batch_key(numbered: tuple[int, Change]) -> tuple[object, ...]:
    index, change = numbered
    kind = type(change.resource)
    return (kind,) if issubclass(kind, _TOGETHER) else (kind, index)


def realise(session: Session, batch: Sequence[Change], *, lock_wait_s: float) -> None:
    """Make the changes of one batch. Raises ``ApplyError``, or ``UnreachableError``."""
    change = batch[0]
    resource = change.resource
    match resource:
        case Package():
            realise_packages(session, batch, lock_wait_s)
        case AptRepository():
            realise_apt_repositories(session, batch, lock_wait_s)
        case DnfRepository():
            realise_repository(session, resource, change)
        case File():
            realise_file(session, resource, change)
        case Directory():
            session.run(
                pyinfra_files.directory,
                resource.path,
                user=resource.owner,
                group=resource.group,
                mode=f"{resource.mode:04o}",
            )
        case Link():
            session.run(files.link, resource.path, resource.target)
        case Absent():
            was = str(change.before.get("type", "file"))
            session.run(files.remove, resource.path, was, change.keep_previous)
        case KernelModule():
            _kernel_module(session, resource, change)
        case Sysctl():
            _sysctl(session, resource, change)
        case KernelArgument():
            _kernel_argument(session, resource)
        case Service():
            realise_service(session, resource, change)
        case User():
            system.realise_user(session, resource, change)
        case Group():
            system.realise_group(session, resource, change)
        case Command():
            _command(session, resource, lock_wait_s)
        case Reboot():
            system.realise_reboot(session, resource)
        case _:
            assert_never(resource)


# ---------------------------------------------------------------- kernel, commands


def _kernel_module(session: Session, module: KernelModule, change: Change) -> None:
    if not change.before.get("loaded"):
        session.run(server.modprobe, module.name)
    if not change.before.get("at_boot"):
        write(session, module_file(module), parents=True)


def _sysctl(session: Session, sysctl: Sysctl, change: Change) -> None:
    if change.before.get("value") != sysctl.value:
        session.run(system.set_sysctl, sysctl)
    if change.before.get("at_boot") != sysctl.value:
        write(session, sysctl_file(sysctl), parents=True)


def _kernel_argument(session: Session, argument: KernelArgument) -> None:
    if session.fact(system.HasGrubby):
        session.run(system.grubby, argument.argument, argument.absent)
        return
    drop_in = grub_file(argument)
    if argument.absent:
        session.run(files.remove, drop_in.path, "file", False)
    else:
        write(session, drop_in, parents=True)
    session.run(system.update_grub, timeout_s=LISTS_S)


def _command(session: Session, command: Command, lock_wait_s: float) -> None:
    argv, stdin = command.argv, command.stdin
    if posixpath.basename(argv[0]) in _PACKAGE_TOOLS:
        env = packages.APT_ENV
        patiently(
            session, lock_wait_s, system.command, argv, env=env, stdin=stdin, timeout_s=LONG_S
        )
    else:
        session.run(system.command, argv, stdin=stdin, timeout_s=LONG_S)
