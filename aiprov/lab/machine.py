"""This machine: run programs, and know a process again later.

A process id alone may belong to somebody else by the time it is used, so a process is known by its
id and its start time. The lab ends nothing that it cannot identify that way.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiprov.errors import LabError

_CAP_SYS_RESOURCE = 24
ENDS_S = 120
"""For processes, groups and interfaces to end, on a machine that others keep busy."""
_REAPED = {errno.ESRCH, errno.EINVAL, errno.ENOENT}
"""What pidfd_open says, by the kernel's version, of a process that has just gone."""

TOOLS: Mapping[str, str] = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setsid": "util-linux",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "chroot": "coreutils",
    "gpg": "gnupg",
}


def missing_tools() -> list[str]:
    """The Debian packages that the lab needs and this machine lacks, sorted."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted({TOOLS[tool] for tool in TOOLS if shutil.which(tool, path=search) is None})


def require_root() -> None:
    """Raise unless this process may make and remove the lab's hosts."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab needs root", hint="run it as root: hosts are systemd-nspawn machines"
        )


def require() -> None:
    """Raise unless this machine can hold a lab."""
    require_root()
    missing = missing_tools()
    if missing:
        raise LabError(
            f"the lab needs packages that are not installed: {' '.join(missing)}",
            hint=f"apt-get install {' '.join(missing)}",
        )


def may_lower_oom_scores(status: str) -> bool:
    """Whether a process with this /proc status has CAP_SYS_RESOURCE; not all machines grant it."""
    effective = status.partition("CapEff:")[2].split()[0]
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def environment() -> dict[str, str]:
    """The environment for programs: sbin is on PATH, messages are in English."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {**os.environ, "PATH": f"{path}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


def call(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and return what it said, whatever its exit status."""
    return subprocess.run(
        list(argv),
        input=stdin if stdin is not None else b"",
        capture_output=True,
        check=False,
        timeout=timeout,
        env={**environment(), **(env or {})},
    )


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program that must succeed and return its standard output."""
    done = call(argv, stdin=stdin, timeout=timeout, env=env)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}: {said[-2000:]}")
    return done.stdout.decode(errors="replace")


def until(question: Callable[[], bool], what: str, *, timeout: float, every: float = 0.02) -> None:
    """Return as soon as the question is answered by True; raise at the deadline."""
    deadline = time.monotonic() + timeout
    while not question():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:.0f} s in vain: {what}")
        time.sleep(every)


@dataclass(frozen=True)
class Process:
    """A process by id and start time, which together never come back."""

    pid: int
    start: int

    @staticmethod
    def of(pid: int) -> Process | None:
        """The live process with this id, or None; a zombie is not alive."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else Process(pid, int(fields[19]))

    @staticmethod
    def read(path: Path) -> Process | None:
        """The process named in a file that it wrote itself, if it is still that process."""
        try:
            words = path.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return None
        if len(words) != 2:
            return None
        known = Process(int(words[0]), int(words[1]))
        return known if known.alive() else None

    def write(self, path: Path) -> None:
        """Name this process in a file, all or nothing."""
        replace(path, f"{self.pid} {self.start}\n")

    def alive(self) -> bool:
        return Process.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError as error:
            if error.errno in _REAPED:
                return
            raise
        try:
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)

    def children(self) -> Iterator[Process]:
        """The live children of this process."""
        for word in _children_of_threads(self.pid):
            child = Process.of(int(word))
            if child is not None:
                yield child


def _children_of_threads(pid: int) -> Iterator[str]:
    """The ids of a process's children; those of threads that have just ended are left out."""
    threads: list[Path] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        threads += Path(f"/proc/{pid}/task").iterdir()
    for thread in threads:
        words: list[str] = []
        with suppress(FileNotFoundError, ProcessLookupError):
            words = (thread / "children").read_text(encoding="ascii").split()
        yield from words


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    scratch.chmod(mode)
    scratch.replace(path)
