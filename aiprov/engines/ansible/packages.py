"""Package changes as calls: neighbours in a plan are one transaction of the package manager."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aiprov.engines.ansible.calls import WHILE_LOCKED, ModuleCall, command
from aiprov.plan import NEWEST, Change
from aiprov.resources import Package
from aiprov.survey.facts import Family

LOCK_TIMEOUT_S = WHILE_LOCKED.times * WHILE_LOCKED.delay_s


def transaction(changes: Sequence[Change], family: Family) -> list[ModuleCall]:
    """The calls for neighbouring package changes that go the same way (all in, or all out)."""
    return list(_apt(changes) if family == "debian" else _dnf(changes))


def goes_out(change: Change) -> bool:
    """Whether the change removes a package; one transaction either brings or removes."""
    return isinstance(change.resource, Package) and change.resource.absent


def _apt(changes: Sequence[Change]) -> Iterator[ModuleCall]:
    out, wanted = _split(changes)
    undo = any(change.undo for change in changes)
    if (out or wanted) and not undo:
        # A host that lost power or whose last run was killed refuses every package until then.
        yield command(
            "Finish what an interrupted dpkg left behind",
            ("dpkg", "--force-confdef", "--force-confold", "--configure", "-a"),
            reads=True,
            again=WHILE_LOCKED,
        )
    common = {"lock_timeout": LOCK_TIMEOUT_S, "allow_change_held_packages": True}
    if out:
        yield ModuleCall(
            name=f"Remove {', '.join(out)}",
            module="ansible.builtin.apt",
            args={"name": out, "state": "absent", **common},
        )
    if wanted and undo:
        yield _put_back(wanted)
    elif wanted:
        yield ModuleCall(
            name=f"Install {', '.join(name for name, _ in wanted)}",
            module="ansible.builtin.apt",
            args={
                "name": [_apt_name(name, version) for name, version in wanted],
                "state": "present",
                "allow_downgrade": True,
                "dpkg_options": "force-confdef,force-confold",
                **common,
            },
        )
    if held := _held(changes, hold=True):
        yield command(f"Hold {', '.join(held)}", ("apt-mark", "hold", *held))
    if released := _held(changes, hold=False):
        yield command(f"Release {', '.join(released)}", ("apt-mark", "unhold", *released))


def _put_back(wanted: Sequence[tuple[str, str]]) -> ModuleCall:
    """Former versions, by apt itself: the apt module lets no version go back that a pin of its
    whole branch prefers (``package_best_match`` of ansible-core 2.19 and 2.21)."""
    options = ("--allow-downgrades", "--allow-change-held-packages")
    kept = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
    names = [_apt_name(name, version) for name, version in wanted]
    return command(
        f"Put back {', '.join(name for name, _ in wanted)}",
        ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", *options, *kept, "install",
         "--", *names),
        again=WHILE_LOCKED,
    )  # fmt: skip


def _apt_name(name: str, version: str) -> str:
    return name if version == NEWEST else f"{name}={version}"


def _dnf(changes: Sequence[Change]) -> Iterator[ModuleCall]:
    out, wanted = _split(changes)
    # dnf obeys its version locks even for an exact version: they go first and come back last.
    for name in _names(change for change in changes if change.before.get("hold")):
        yield command(f"Unlock {name}", ("dnf", "versionlock", "delete", name))
    if out:
        yield ModuleCall(
            name=f"Remove {', '.join(out)}",
            module="ansible.builtin.dnf",
            args={"name": out, "state": "absent", "lock_timeout": LOCK_TIMEOUT_S},
        )
    if wanted:
        yield ModuleCall(
            name=f"Install {', '.join(name for name, _ in wanted)}",
            module="ansible.builtin.dnf",
            args={
                "name": [_dnf_name(name, version) for name, version in wanted],
                "state": "present",
                "allow_downgrade": True,
                "lock_timeout": LOCK_TIMEOUT_S,
            },
        )
    for name in _names(change for change in changes if _hold_after(change)):
        yield command(f"Lock {name} to its version", ("dnf", "versionlock", "add", name))


def _dnf_name(name: str, version: str) -> str:
    return name if version == NEWEST else f"{name}-{version}"


def _split(changes: Iterable[Change]) -> tuple[list[str], list[tuple[str, str]]]:
    """Names to remove, and names with versions to install."""
    out: list[str] = []
    wanted: list[tuple[str, str]] = []
    for change in changes:
        version = change.after.get("version")
        if not isinstance(change.resource, Package) or version == change.before.get("version"):
            continue
        if version is None:
            out.append(change.resource.name)
        else:
            wanted.append((change.resource.name, version))
    return out, wanted


def _held(changes: Iterable[Change], *, hold: bool) -> list[str]:
    return _names(change for change in changes if _hold_after(change) is hold)


def _names(changes: Iterable[Change]) -> list[str]:
    return [change.resource.name for change in changes if isinstance(change.resource, Package)]


def _hold_after(change: Change) -> bool | None:
    """The hold to set, ``None`` where there is nothing to do. A hold survives a new version."""
    if goes_out(change):
        return None
    before = bool(change.before.get("hold"))
    after = bool(change.after.get("hold", before))
    if after:
        return True if _new_version(change) or not before else None
    return False if before else None


def _new_version(change: Change) -> bool:
    return bool(change.after.get("version") != change.before.get("version"))
