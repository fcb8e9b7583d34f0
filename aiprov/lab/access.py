"""Reaching a host: by ssh as any user would, or from the machine's side when ssh cannot."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab import daemon, inventory
from aiprov.lab.machine import Process, call, until
from aiprov.lab.state import Folder, Host

_SETTLED = {"running", "degraded"}


def ssh_argv(directory: Path, name: str, user: str = "root") -> list[str]:
    """The command that opens a session on a host; add a remote command to it."""
    folder = Folder(directory.absolute())
    host = folder.read_host(name)
    options = [f"-o{key}={value}" for key, value in inventory.ssh_options(folder).items()]
    return ["ssh", "-F", "none", "-i", str(folder.key), *options, f"{user}@{host.address}"]


def run_in(
    directory: Path,
    name: str,
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout: float | None = 300,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program on a host from the machine's side: no network, no sshd, as root."""
    return call(enter(directory, name, argv), stdin=stdin, timeout=timeout)


def enter(directory: Path, name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs a program inside a host from the machine's side."""
    folder = Folder(directory.absolute())
    leader = _leader(folder, folder.read_host(name))
    if leader is None:
        raise LabError(f"{name} is not running")
    wall = ["nsenter", f"--target={leader.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
    wall += ["--cgroup", "env", "-i", "HOME=/root", "LC_ALL=C.UTF-8"]
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [*wall, path, *argv]


def must(
    name: str, argv: Sequence[str], done: subprocess.CompletedProcess[bytes]
) -> subprocess.CompletedProcess[bytes]:
    """The same result, if the program succeeded."""
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise LabError(f"{name}: {' '.join(argv)}: exit status {done.returncode}: {said[-2000:]}")
    return done


def _leader(folder: Folder, host: Host) -> Process | None:
    """The host's process 1, as the machine sees it."""
    nspawn = current_boot(folder, host)
    if nspawn is None:
        return None
    for child in nspawn.children():
        try:
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in status.splitlines():
            if line.startswith("NSpid:") and line.split()[-1] == "1":
                return child
    return None


def current_boot(folder: Folder, host: Host) -> Process | None:
    """The process that is this boot of the host. Nothing in the host is asked: entering a host
    that is just shutting down would hold its shutdown up."""
    return Process.read(folder.host(host.name) / "nspawn")


def boot_id(directory: Path, name: str) -> str:
    """Which boot of the host this is; raises where it cannot be asked."""
    argv = ["cat", "/proc/sys/kernel/random/boot_id"]
    return must(name, argv, run_in(directory, name, argv)).stdout.decode().strip()


def wait_for(folder: Folder, host: Host, timeout: float) -> None:
    """Wait until a host has booted and lets us in with its known key."""
    said = ""
    end = time.monotonic() + timeout

    def ready() -> bool:
        nonlocal said
        if daemon.running(folder.host(host.name)) is None:
            log = (folder.host(host.name) / "log").read_text(encoding="utf-8", errors="replace")
            raise LabError(f"{host.name} did not boot: {log.strip()[-1000:]}")
        command = ssh_argv(folder.root, host.name)
        command[1:1] = ["-oConnectTimeout=10", "-oBatchMode=yes", "-oConnectionAttempts=1"]
        left = max(1.0, end - time.monotonic())
        try:
            done = call([*command, "systemctl", "is-system-running", "--wait"], timeout=left)
        except subprocess.TimeoutExpired:
            said = "its systemd did not say that it was up"
            return False
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        return done.stdout.decode().strip() in _SETTLED and _leader(folder, host) is not None

    try:
        until(ready, f"{host.name} to boot", timeout=timeout, every=0.1)
    except LabError as error:
        raise LabError(f"{error.message} ({said})" if said else error.message) from None


def accepts(address: str) -> bool:
    """Whether something at this address accepts ssh connections."""
    try:
        with socket.create_connection((address, 22), timeout=1):
            return True
    except OSError:
        return False


def is_running(folder: Folder, host: Host) -> bool:
    return daemon.running(folder.host(host.name)) is not None
