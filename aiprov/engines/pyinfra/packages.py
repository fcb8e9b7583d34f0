"""Operations for packages and their repositories: one transaction, exact versions, no prompts.

pyinfra's ``apt.packages`` and ``dnf.packages`` read the list of all packages again, install and
remove in calls of their own, and pass no options on locks and configuration files.

Recommended packages are installed or not as the host's apt is configured (Debian's default: they
are), as Ansible's module does it too: an engine must not make a choice that a role did not.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from aiprov.engines.pyinfra.files import Commands, all_of, quoted

APT_ENV = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",  # services are restarted by the plan, not behind its back
    "LC_ALL": "C.UTF-8",
}
DNF_ENV = {"LC_ALL": "C.UTF-8"}
VERSIONLOCK = "/etc/dnf/plugins/versionlock.list"

_KEEP_CONFIGURATION = ("--force-confdef", "--force-confold")


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """What one call of the package manager does, and what is held afterwards.

    ``install`` has ``(name, exact version or None)``. ``held`` says that something to be changed
    is on hold now, ``reinstall`` that the files of something to be installed are half there.
    """

    install: tuple[tuple[str, str | None], ...] = ()
    remove: tuple[str, ...] = ()
    hold: tuple[str, ...] = ()
    unhold: tuple[str, ...] = ()
    held: bool = False
    reinstall: bool = False


class PackageManager(FactBase[str]):
    """The path of ``apt-get`` or ``dnf``; empty when the host has neither."""

    def command(self) -> str:
        return "for name in apt-get dnf; do if command -v $name; then break; fi; done"

    @staticmethod
    def default() -> str:
        return ""


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """What dpkg was in the middle of when a kill or a reboot stopped it.

    ``reinstall`` are packages whose files are half there: apt takes them for installed.
    """

    unfinished: bool = False
    reinstall: tuple[str, ...] = ()


class DpkgInterrupted(FactBase[Interrupted]):
    """What dpkg left unfinished."""

    def command(self) -> str:
        # A line "+ 0001" for an entry of the journal, else package, status and error flag.
        whole = '$2 !~ /^(installed|config-files|not-installed|triggers-.*)$/ || $3 != "ok"'
        form = "${binary:Package} ${db:Status-Status} ${db:Status-Eflag}\\n"
        return (
            "find /var/lib/dpkg/updates -name '[0-9]*' -printf '+ %f\\n'; "
            f"dpkg-query -W -f '{form}' | awk '{whole}'"
        )

    def process(self, output: list[str]) -> Interrupted:
        lines = [line.split() for line in output if line.strip()]
        packages = [fields for fields in lines if fields[0] != "+"]
        half = {"half-installed", "reinstreq"}
        return Interrupted(
            unfinished=bool(lines),
            reinstall=tuple(name for name, *state in packages if half & {*state}),
        )

    @staticmethod
    def default() -> Interrupted:
        return Interrupted()


def _apt(lock_wait_s: float, *argv: str) -> StringCommand:
    options = ["-o", f"DPkg::Lock::Timeout={int(lock_wait_s)}"]
    for option in _KEEP_CONFIGURATION:
        options += ["-o", f"Dpkg::Options::={option}"]
    return quoted(("apt-get", "-y", *options, *argv))


@operation(is_idempotent=False)
def apt_repair(reinstall: tuple[str, ...], lock_wait_s: float) -> Commands:
    """Finish what an interrupted dpkg began."""
    options = (QuoteString(option) for option in _KEEP_CONFIGURATION)
    yield StringCommand("dpkg", *options, "--configure", "-a")
    yield _apt(lock_wait_s, "install", "--fix-broken")
    if reinstall:
        yield _apt(lock_wait_s, "install", "--reinstall", "--", *reinstall)


@operation(is_idempotent=False)
def apt_transaction(transaction: Transaction, lock_wait_s: float) -> Commands:
    """Installs and removals in one call of apt-get, then holds."""
    wanted = [f"{name}={version}" if version else name for name, version in transaction.install]
    wanted += [f"{name}-" for name in transaction.remove]
    if wanted:
        flags = []
        if any(version for _, version in transaction.install):
            flags.append("--allow-downgrades")
        if transaction.held:
            flags.append("--allow-change-held-packages")
        if transaction.reinstall:
            flags.append("--reinstall")
        yield _apt(lock_wait_s, *flags, "install", "--", *wanted)
    if transaction.unhold:
        yield quoted(("apt-mark", "unhold", "--", *transaction.unhold))
    if transaction.hold:
        yield quoted(("apt-mark", "hold", "--", *transaction.hold))


@operation(is_idempotent=False)
def apt_update(sources: tuple[str, ...], lock_wait_s: float) -> Commands:
    """The package lists of these sources only; any source that cannot be read is a failure."""
    folder = "/run/aiprov-apt-sources"
    options: list[str] = []
    for option in (
        "Dir::Etc::sourcelist=/dev/null",
        f"Dir::Etc::sourceparts={folder}",
        "APT::Get::List-Cleanup=0",
        "APT::Update::Error-Mode=any",
    ):
        options += ["-o", option]
    yield all_of(
        quoted(("rm", "-rf", folder)),
        quoted(("mkdir", "-m", "0755", folder)),
        quoted(("ln", "-s", *sources, folder)),
    )
    yield _apt(lock_wait_s, *options, "update")
    yield quoted(("rm", "-rf", folder))


@operation(is_idempotent=False)
def dnf_transaction(transaction: Transaction) -> Commands:
    """Installs in one call (which may replace what goes), then removals, then version locks."""
    if transaction.unhold or (transaction.held and transaction.hold):
        yield _unlock((*transaction.unhold, *transaction.hold))
    if transaction.install:
        wanted = [f"{n}-{v}" if v else n for n, v in transaction.install]
        flags = ["--allowerasing"] if transaction.remove else []
        yield quoted(("dnf", "-y", *flags, "install", *wanted))
    if transaction.remove:
        yield quoted(("dnf", "-y", "remove", *transaction.remove))
    if transaction.hold:
        yield _unlock(transaction.hold)
        line = "%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.*\\n"
        query = quoted(("rpm", "-q", "--qf", line, *transaction.hold))
        yield StringCommand(query, ">>", QuoteString(VERSIONLOCK))


def _unlock(names: tuple[str, ...]) -> StringCommand:
    """Take the packages' lines out of the list of locks."""
    scripts = [bit for name in names for bit in ("-e", f"/^{_escaped(name)}-[0-9]*:/d")]
    return StringCommand(
        *("[", "!", "-e", QuoteString(VERSIONLOCK), "]", "||"),
        quoted(("sed", "-i", *scripts, VERSIONLOCK)),
    )


def _escaped(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else f"[{c}]" for c in name)
