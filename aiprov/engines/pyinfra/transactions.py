"""From package and repository changes to calls of the host's package manager."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiprov.engines.pyinfra import packages
from aiprov.engines.pyinfra.locks import patiently
from aiprov.engines.pyinfra.paths import write
from aiprov.engines.pyinfra.session import LISTS_S, LONG_S, OperationFailed, Session
from aiprov.plain_files import repository_files
from aiprov.plan import NEWEST, Change
from aiprov.resources import (
    AptRepository,
    DnfRepository,
    Package,
)


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


def realise_packages(session: Session, batch: Sequence[Change], lock_wait_s: float) -> None:
    todo = transaction(batch)
    manager = session.fact(packages.PackageManager)
    if manager.endswith("apt-get"):
        apt = {"env": packages.APT_ENV, "timeout_s": LONG_S}
        # What a failed transaction left half configured is what an undo replaces: to configure it
        # first would only fail once more.
        undo = any(change.undo for change in batch)
        if (todo.install or todo.remove) and not undo:
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


def realise_apt_repositories(session: Session, batch: Sequence[Change], lock_wait_s: float) -> None:
    sources = []
    for change in batch:
        if isinstance(change.resource, AptRepository):
            realise_repository(session, change.resource, change)
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


def realise_repository(
    session: Session, repository: AptRepository | DnfRepository, change: Change
) -> None:
    wanted = repository_files(repository)
    before = list(change.before.get("files", ()))
    present = before if len(before) == len(wanted) else [""] * len(wanted)
    for file, digest, target in zip(wanted, present, change.after["files"], strict=True):
        if digest != target:
            write(session, file, parents=True)
