"""Operations for accounts, the kernel, commands and reboots, beside pyinfra's own."""

from __future__ import annotations

import time

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.operations import server

from aiprov.engines.pyinfra.files import Commands, quoted
from aiprov.engines.pyinfra.session import OperationFailed, Session
from aiprov.errors import UnreachableError
from aiprov.plan import Change
from aiprov.resources import Argv, Group, Reboot, Sysctl, User

_POLL_S = 1.0
_BOOTING = frozenset({"initializing", "starting"})


class Boot(FactBase[tuple[str, str]]):
    """The id of the host's present boot, and how far systemd has come with it."""

    def command(self) -> str:
        # is-system-running exits with 1 while the host starts and when it is degraded.
        return "systemctl is-system-running; cat /proc/sys/kernel/random/boot_id"

    def process(self, output: list[str]) -> tuple[str, str]:
        return output[-1].strip(), output[0].strip()


class HasGrubby(FactBase[bool]):
    """Whether kernel arguments are grubby's business here (RHEL and its kin)."""

    def command(self) -> str:
        return "if command -v grubby; then :; fi"

    def process(self, output: list[str]) -> bool:
        return bool(output)

    @staticmethod
    def default() -> bool:
        return False


class GroupExists(FactBase[bool]):
    """Whether there is a group of that name, local or not."""

    def command(self, group: str) -> StringCommand:
        return StringCommand("if getent group --", QuoteString(group), "; then :; fi")

    def process(self, output: list[str]) -> bool:
        return bool(output)

    @staticmethod
    def default() -> bool:
        return False


@operation(is_idempotent=False)
def command(argv: Argv) -> Commands:
    """A command as it is."""
    yield quoted(argv)


@operation(is_idempotent=False)
def set_sysctl(sysctl: Sysctl) -> Commands:
    """The live value. (pyinfra's operation needs procps, which minimal images lack.)"""
    yield StringCommand(
        *("printf", QuoteString("%s\\n"), QuoteString(sysctl.value), ">"),
        QuoteString(sysctl_path(sysctl.key)),
    )


def sysctl_path(key: str) -> str:
    """Where the kernel keeps the parameter. As in sysctl(8), the first separator decides."""
    first = next((c for c in key if c in "./"), ".")
    if first == ".":
        key = key.translate(str.maketrans("./", "/."))
    return f"/proc/sys/{key}"


@operation(is_idempotent=False)
def update_grub() -> Commands:
    """The boot loader's configuration from its drop-ins."""
    yield StringCommand("update-grub")


@operation(is_idempotent=False)
def grubby(argument: str, absent: bool) -> Commands:
    """The argument for every installed kernel, and for those to come."""
    verb = "--remove-args" if absent else "--args"
    yield quoted(("grubby", "--update-kernel=ALL", f"{verb}={argument}"))


@operation(is_idempotent=False)
def account(argv: Argv) -> Commands:
    """An account, made or changed.

    pyinfra's ``server.user`` fetches every account with its password's hash to the controller,
    and gives ids to new accounts only.
    """
    yield quoted(argv)


def realise_user(session: Session, user: User, change: Change) -> None:
    """An account. People get a home from the skeleton, system accounts none."""
    if change.before.get("exists"):
        if options := _differing(user, change):
            session.run(account, ("usermod", *options, "--", user.name))
        return
    # useradd makes a group of the user's name, unless it is there.
    group = user.group or (user.name if session.fact(GroupExists, group=user.name) else None)
    options = _options(uid=user.uid, gid=group, home=user.home, shell=user.shell)
    if user.groups:
        options += ["--groups", ",".join(user.groups)]
    kind = ["--system", "--no-create-home"] if user.system else ["--create-home"]
    session.run(account, ("useradd", *kind, *options, "--", user.name))


def _differing(user: User, change: Change) -> list[str]:
    wanted = {"uid": user.uid, "group": user.group, "home": user.home, "shell": user.shell}
    new = {key: value for key, value in wanted.items() if value != change.before.get(key)}
    options = _options(
        uid=new.get("uid"), gid=new.get("group"), home=new.get("home"), shell=new.get("shell")
    )
    missing = [group for group in user.groups if group not in change.before.get("groups", ())]
    if missing:
        options += ["--append", "--groups", ",".join(missing)]
    return options


def _options(**values: str | int | None) -> list[str]:
    pairs = ((f"--{name}", str(value)) for name, value in values.items() if value is not None)
    return [part for pair in pairs for part in pair]


def realise_group(session: Session, group: Group, change: Change) -> None:
    """A group."""
    if change.before.get("exists"):
        session.run(command, ("groupmod", "--gid", str(group.gid), group.name))
    else:
        session.run(server.group, group.name, gid=group.gid, system=group.system)


@operation(is_idempotent=False)
def reboot_soon() -> Commands:
    """Ask for a reboot from outside this connection, so that the answer still arrives."""
    yield quoted(("systemd-run", "--quiet", "--on-active=1", "systemctl", "reboot"))


def realise_reboot(session: Session, reboot: Reboot) -> None:
    """Reboot, and wait for another boot id: an answering ssh alone proves nothing.

    Raises ``ApplyError`` when that does not come within the resource's time.
    """
    deadline = time.monotonic() + reboot.timeout_s
    old, _ = session.fact(Boot)
    session.run(reboot_soon)
    seen = f"the host still runs the boot it had ({old})"
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        try:
            new, state = session.fact(Boot, _timeout=10)
        except (UnreachableError, OperationFailed) as error:
            seen = f"the host does not answer: {error}"
            session.disconnect()
            continue
        if new == old:
            seen = f"the host still runs the boot it had ({old})"
        elif state not in _BOOTING:
            return
        else:
            seen = "it has, but systemd still starts its units"
    message = f"the host has not rebooted within {reboot.timeout_s} s: {seen}"
    raise OperationFailed(session.host_name, message, said=())
