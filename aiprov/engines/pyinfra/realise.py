"""From changes to pyinfra operations, kind by kind."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import assert_never

from pyinfra.operations import files as pyinfra_files
from pyinfra.operations import server

from aiprov.diff import text_of
from aiprov.engines.pyinfra import files, packages, system
from aiprov.engines.pyinfra.locks import patiently
from aiprov.engines.pyinfra.services import realise_service
from aiprov.engines.pyinfra.session import OperationFailed, Session
from aiprov.errors import HostError
from aiprov.plan import NEWEST, Change
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
    Secret,
    Service,
    Sysctl,
    User,
    grub_file,
    module_file,
    repository_files,
    sysctl_file,
)

LONG_S = 3600
"""For transactions of packages and for commands of roles, whose length nobody knows."""

LISTS_S = 600
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
            _transaction(session, batch, lock_wait_s)
        case AptRepository():
            _apt_repositories(session, batch, lock_wait_s)
        case DnfRepository():
            _repository(session, resource, change)
        case File():
            _file(session, resource, change)
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


# ---------------------------------------------------------------- paths


def _file(session: Session, file: File, change: Change) -> None:
    before, after = change.before, change.after
    if before.get("type") == "file" and before.get("sha256") == after.get("sha256"):
        session.run(files.own, file.path, file.mode, file.owner, file.group)
    else:
        write(session, file, keep_previous=change.keep_previous)


def write(
    session: Session, file: File, *, keep_previous: bool = False, parents: bool = False
) -> None:
    """Put the file in place at once and whole, or leave what is there."""
    if parents:
        session.run(files.make_parents, file.path)
    _clean(session, posixpath.dirname(file.path))
    staged = files.staged_path(file.path)
    content = text_of(file).encode()
    try:
        arguments = (staged, content, file.mode, file.owner, file.group)
        if file.validate is None:
            session.run(files.stage_and_place, *arguments, file.path, keep_previous)
        else:
            session.run(files.stage, *arguments)
            _validate(session, file, staged)
            session.run(files.place, staged, file.path, keep_previous)
    except HostError:
        # Where the host cannot be reached either, the next apply to the folder removes it.
        with suppress(HostError):
            session.run(files.discard, staged)
        raise


def _clean(session: Session, folder: str) -> None:
    if folder in session.cleaned:
        return
    try:
        session.run(files.remove_staged, folder)
    except OperationFailed as failed:
        if not any("No such file" in said.stderr for said in failed.said):
            raise
        raise OperationFailed(
            session.host_name,
            f"the folder {folder} does not exist",
            said=(),
            hint=f"have the role ask for Directory[{folder}] before it",
        ) from failed
    session.cleaned.add(folder)


def _validate(session: Session, file: File, staged: str) -> None:
    argv = file.validate or ()
    try:
        session.run(files.validate, argv, staged, timeout_s=LISTS_S)
    except OperationFailed as failed:
        what = f"{argv[0]} refuses the new content of {file.path}; the file is as it was"
        if isinstance(file.content, Secret):
            what += " (what it said is withheld: the content is secret)"
        shown = () if isinstance(file.content, Secret) else failed.said
        shown = tuple(replace(s, stdout=s.stdout.replace(staged, file.path)) for s in shown)
        shown = tuple(replace(s, stderr=s.stderr.replace(staged, file.path)) for s in shown)
        raise OperationFailed(session.host_name, what, said=shown) from failed


# ---------------------------------------------------------------- packages


def transaction(batch: Sequence[Change]) -> packages.Transaction:
    """What one call of the package manager has to do for these changes."""
    install: list[tuple[str, str | None]] = []
    remove: list[str] = []
    hold: list[str] = []
    unhold: list[str] = []
    held = False
    for change in batch:
        package, before, after = change.resource, change.before, change.after
        if not isinstance(package, Package):
            continue
        moves = after.get("version") != before.get("version")
        was_held = bool(before.get("hold"))
        wanted_hold = bool(after.get("hold", was_held and not package.absent))
        held = held or (moves and was_held)
        if moves and package.absent:
            remove.append(package.name)
        elif moves:
            version = after["version"]
            install.append((package.name, None if version == NEWEST else str(version)))
        if was_held and not wanted_hold:
            unhold.append(package.name)
        elif wanted_hold and (moves or not was_held):
            hold.append(package.name)
    return packages.Transaction(
        install=tuple(install),
        remove=tuple(remove),
        hold=tuple(hold),
        unhold=tuple(unhold),
        held=held,
    )


def _transaction(session: Session, batch: Sequence[Change], lock_wait_s: float) -> None:
    todo = transaction(batch)
    manager = session.fact(packages.PackageManager)
    if manager.endswith("apt-get"):
        apt = {"env": packages.APT_ENV, "timeout_s": LONG_S}
        if todo.install or todo.remove:
            todo = _repaired(session, todo, lock_wait_s)
        patiently(session, lock_wait_s, packages.apt_transaction, todo, lock_wait_s, **apt)
    elif manager.endswith("dnf"):
        session.run(packages.dnf_transaction, todo, env=packages.DNF_ENV, timeout_s=LONG_S)
    else:
        raise OperationFailed(session.host_name, "the host has neither apt-get nor dnf", said=())


def _repaired(
    session: Session, todo: packages.Transaction, lock_wait_s: float
) -> packages.Transaction:
    """The transaction, after what an interrupted dpkg left unfinished has been finished."""
    left: packages.Interrupted = session.fact(packages.DpkgInterrupted)
    if not left.unfinished:
        return todo
    ours = {name for name, _ in todo.install} & {*left.reinstall}
    others = tuple(name for name in left.reinstall if name not in ours)
    apt = {"env": packages.APT_ENV, "timeout_s": LONG_S}
    patiently(session, lock_wait_s, packages.apt_repair, others, lock_wait_s, **apt)
    return replace(todo, reinstall=bool(ours))


def _apt_repositories(session: Session, batch: Sequence[Change], lock_wait_s: float) -> None:
    sources = []
    for change in batch:
        if isinstance(change.resource, AptRepository):
            _repository(session, change.resource, change)
            sources.append(repository_files(change.resource)[-1].path)
    patiently(
        session,
        lock_wait_s,
        packages.apt_update,
        tuple(sources),
        lock_wait_s,
        env=packages.APT_ENV,
        timeout_s=LISTS_S,
    )


def _repository(
    session: Session, repository: AptRepository | DnfRepository, change: Change
) -> None:
    wanted = repository_files(repository)
    before = list(change.before.get("files", ()))
    present = before if len(before) == len(wanted) else [""] * len(wanted)
    for file, digest, target in zip(wanted, present, change.after["files"], strict=True):
        if digest != target:
            write(session, file, parents=True)


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
    if posixpath.basename(command.argv[0]) in _PACKAGE_TOOLS:
        argv, env = command.argv, packages.APT_ENV
        patiently(session, lock_wait_s, system.command, argv, env=env, timeout_s=LONG_S)
    else:
        session.run(system.command, command.argv, timeout_s=LONG_S)
