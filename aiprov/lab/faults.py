"""What goes wrong with real hosts, on demand: cables, power, hangs, full disks, held locks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab import build, cgroups, network
from aiprov.lab.access import accepts, current_boot, enter, must, run_in, wait_for
from aiprov.lab.machine import until
from aiprov.lab.state import Folder

_OVERLAID = "/run/aiprov-lab/full"
_FILLER = ".aiprov-lab-filler"
_LOCKER = """
import fcntl, sys
held = [open(path, "w") for path in sys.argv[1:]]
for file in held: fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
_APT_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")


def _folder(directory: Path) -> Folder:
    return Folder(directory.absolute())


def cut(directory: Path, name: str) -> None:
    """Pull a host's network cable: packets to it are lost, as to a host that is gone."""
    network.plug(_folder(directory).read_host(name).machine, False)


def restore(directory: Path, name: str) -> None:
    """Put a host's network cable back, and wait until the host is reached."""
    host = _folder(directory).read_host(name)
    network.plug(host.machine, True)
    until(lambda: accepts(host.address), f"{name} to be reached", timeout=120)


def hang(directory: Path, name: str) -> None:
    """Freeze a host: its kernel accepts connections, and nobody ever answers."""
    cgroups.freeze(_folder(directory).read_host(name).group, True)


def resume(directory: Path, name: str) -> None:
    """Let a frozen host go on."""
    cgroups.freeze(_folder(directory).read_host(name).group, False)


def kill(directory: Path, name: str) -> None:
    """Cut a host's power. ``start`` boots it again with the disk it had."""
    folder = _folder(directory)
    build.power_off(folder, folder.read_host(name))


def start(directory: Path, name: str, timeout: float = 300) -> None:
    """Switch a host on that is off, and wait until it has booted."""
    folder = _folder(directory)
    host = folder.read_host(name)
    build.boot(folder, host)
    wait_for(folder, host, timeout)


def reboot(directory: Path, name: str, timeout: float = 300) -> None:
    """Reboot a host from within, and wait until it is up again."""
    folder = _folder(directory)
    host = folder.read_host(name)
    before = current_boot(folder, host)
    try:
        done = run_in(directory, name, ["systemctl", "reboot"], timeout=timeout)
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        said = "systemctl did not end"
    # It may end by the reboot that it asked for, so what it says of itself does not count.
    until(
        lambda: current_boot(folder, host) not in {None, before},
        f"{name} to reboot ({said})" if said else f"{name} to reboot",
        timeout=timeout,
    )
    wait_for(folder, host, timeout)


@contextmanager
def full_disk(directory: Path, name: str, path: str, free: int = 0) -> Iterator[None]:
    """For a while, the file system of a folder of a host has this many bytes left.

    The folder's content is there, on a file system of its own, and writes fail with ENOSPC.
    """
    fill_disk(directory, name, path, free)
    try:
        yield
    finally:
        free_disk(directory, name, path)


def fill_disk(directory: Path, name: str, path: str, free: int = 0) -> None:
    """Begin what ``full_disk`` does."""

    def on_host(*argv: str) -> str:
        return must(name, argv, run_in(directory, name, argv)).stdout.decode()

    used = int(on_host("du", "--summarize", "--bytes", "--one-file-system", path).split()[0])
    on_host("mkdir", "--parents", _OVERLAID)
    on_host("mount", "--bind", path, _OVERLAID)
    on_host("mount", "--make-private", _OVERLAID)
    size = 2 * used + free + (16 << 20)
    on_host("mount", "-t", "tmpfs", "-o", f"mode=755,size={size}", "aiprov-lab-full", path)
    on_host("cp", "--archive", f"{_OVERLAID}/.", path)
    on_host("umount", _OVERLAID)
    left = int(on_host("stat", "--file-system", "--format=%a %S", path).split()[0]) * 4096
    filler = f"{path}/{_FILLER}"
    on_host("fallocate", "--length", str(max(4096, left - free)), filler)


def free_disk(directory: Path, name: str, path: str) -> None:
    """End what ``full_disk`` does: what was written meanwhile is gone with its file system."""
    must(name, ["umount"], run_in(directory, name, ["umount", "--lazy", path]))


@contextmanager
def apt_lock(directory: Path, name: str, locks: Sequence[str] = _APT_LOCKS) -> Iterator[int]:
    """For a while, another program on the host holds apt's locks; yields its process id there."""
    command = enter(directory, name, ["python3", "-c", _LOCKER, *locks])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None  # noqa: S101 - asked for above
        if holder.stdout.readline() != b"held\n":
            raise LabError(f"{name}: cannot take apt's locks")
        shown = run_in(directory, name, ["lslocks", "--json", "--output", "PID,PATH"])
        rows = json.loads(shown.stdout or b'{"locks": []}')["locks"]
        yield next((int(row["pid"]) for row in rows if row["path"] in locks), 0)
