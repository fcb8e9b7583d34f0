"""The real command line against lab hosts, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiprov.lab import Lab
from aiprov.lab.machine import Process

ROLES = {
    "aiprov_roles": ["base", "containerd", "docker"],
    "containerd_source": "distribution",
    "docker_source": "distribution",
    "containerd_config_extra": {
        "plugins": {"io.containerd.grpc.v1.cri": {"restrict_oom_score_adj": True}}
    },
    "base_sysctls": {"net.ipv4.ip_forward": "1"},
}


_FATAL = re.compile(r"^fatal: \[(\S+)\].*? => (\{.*\})$", re.M)


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def __repr__(self) -> str:
        """Short, so that a failed assertion ends with why: what failed in a play, or the end."""
        failed = [f"{host}: {_why(task)}" for host, task in _FATAL.findall(self.out)]
        said = failed or [*self.out.splitlines()[-5:], *self.err.splitlines()[-10:]]
        return "\n".join([f"exit code {self.code}", *said])

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


def _why(task: str) -> str:
    """What a failed task of a play says of it; all of it where it is no JSON."""
    try:
        return str(json.loads(task).get("msg"))
    except ValueError:
        return task


class Running:
    """A command under way: its progress can be waited for, and it can be ended at any moment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._out: list[str] = []
        self._err: list[str] = []
        self._told = threading.Condition()
        self._over = False  # all of its progress has been read
        self._readers = [
            threading.Thread(target=self._read, args=given)
            for given in ((process.stdout, self._out), (process.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._told:
                lines.append(line)
                self._told.notify_all()
        with self._told:
            self._over = self._over or lines is self._err
            self._told.notify_all()

    def wait_for(self, pattern: str, timeout: float = 300) -> None:
        """Return as soon as a line of its progress matches. It must not end before."""
        reached = self.reaches(pattern, timeout)
        assert reached, f"{pattern} was not reached:\n" + "".join((*self._err, *self._out))

    def reaches(self, pattern: str, timeout: float = 300) -> bool:
        """Return as soon as a line of its progress matches, or it has ended without one."""
        with self._told:
            while not (self._over or self.shows(pattern)):
                if not self._told.wait(timeout):
                    break
        return self.shows(pattern)

    def shows(self, pattern: str) -> bool:
        """Whether a line of its progress so far matches."""
        return any(re.search(pattern, line) for line in tuple(self._err))

    def kill(self, number: signal.Signals = signal.SIGKILL, *, all_of_it: bool = False) -> None:
        """Send a signal: to the command alone, or to everything that it has started too."""
        top = Process.of(self.process.pid)
        assert top is not None, "it had ended already:\n" + "".join((*self._err, *self._out))
        for process in tuple(_family(top)) if all_of_it else (top,):
            process.signal(number)

    def finish(self, timeout: float = 600) -> Said:
        """Wait until it has ended."""
        self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return Said(self.process.returncode, "".join(self._out), "".join(self._err))


def _family(process: Process) -> Iterator[Process]:
    yield process
    for child in process.children():
        yield from _family(child)


@dataclass(frozen=True)
class Site:
    """A lab with an inventory folder of its own beside the lab's, where tests set variables."""

    lab: Lab
    folder: Path

    def set(self, variables: Mapping[str, Any], group: str = "all") -> None:
        """The variables of a group (or, for the name of a host, of that host)."""
        kind = "host_vars" if group in self.lab.hosts else "group_vars"
        path = self.folder / kind / f"{group}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(variables)))

    @property
    def inventory(self) -> tuple[str, ...]:
        return ("-i", str(self.lab.inventory), "-i", str(self.folder))

    def start(self, verb: str, *arguments: str) -> Running:
        """Begin a command and leave it running, as in a terminal.

        Where the tests themselves run in the background, they ignore Ctrl-C, and so would it.
        """
        command = ("env", "--default-signal=INT", sys.executable, "-m", "aiprov")
        return Running(
            subprocess.Popen(
                [*command, verb, *self.inventory, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(self.folder),
                start_new_session=True,
            )
        )

    def aiprov(self, verb: str, *arguments: str, stdin: str = "") -> Said:
        """Run a command to its end. A group's verb comes first in the arguments."""
        words = [verb, *self.inventory, *arguments]
        if verb in ("inventory", "render"):
            words = [verb, *arguments[:1], *self.inventory, *arguments[1:]]
        return self.run(words, stdin)

    def report(self, *arguments: str) -> Said:
        """Show the last run again."""
        return self.run(["report", *arguments], "")

    def run(self, words: list[str], stdin: str) -> Said:
        """Run the command line with these words to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "aiprov", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=3000,  # two builds of the real driver at once, on a slow machine
            env=environment(self.folder),
            start_new_session=True,  # no terminal: passwords are asked for on standard input
        )
        return Said(done.returncode, done.stdout, done.stderr)


def converges(hosts: Site, host: str, engine: str) -> None:
    """A rerun brings the host to what is wanted, and then nothing of a fault is left."""
    said = hosts.aiprov("apply", "--engine", engine, "--limit", host)
    assert said.code == 0, said.out + said.err
    said = hosts.aiprov("plan", "--limit", host)
    assert said.code == 0, said.out + said.err
    assert left_behind(hosts.lab, host) == ""


def site(lab: Lab, folder: Path, variables: Mapping[str, Any] = ROLES) -> Site:
    """A site whose hosts all have these variables."""
    folder.mkdir(exist_ok=True)
    (folder / "hosts.yml").write_text("all: {}\n")
    made = Site(lab, folder)
    made.set(variables)
    return made


def environment(folder: Path) -> dict[str, str]:
    """The test's own environment, with the run history out of the way."""
    return {**os.environ, "AIPROV_HISTORY": str(folder.parent / "history.sqlite3")}


SNAPSHOT = """
import hashlib, os, subprocess
SKIP = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/log", "/var/lib/systemd", "/var/cache/apt")
for folder, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if not os.path.join(folder, one).startswith(SKIP)]
    for name in files:
        path = os.path.join(folder, name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue  # it was there for a moment
        print(path, oct(status.st_mode), status.st_uid, status.st_gid, status.st_size,
              status.st_mtime_ns, status.st_ctime_ns)
packages = ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\\n"]
print(subprocess.check_output(packages).decode())
print(subprocess.check_output(["systemctl", "list-units", "--all", "--no-legend", "--plain",
                               "--type=service,socket,timer"]).decode())
"""


def snapshot(lab: Lab, host: str) -> str:
    """Every file with its times, every package and every unit of a host."""
    return lab.run(host, ["/usr/bin/python3", "-"], stdin=SNAPSHOT.encode()).stdout.decode()


LEFT = """
import glob, os, subprocess
NAMES = (".aiprov-staged-", ".aiprov-previous", ".ansible_tmp", ".aiprov-")
OURS = ("/etc", "/usr/local", "/run", "/tmp", "/var/tmp", "/root", "/home", "/dev/shm")
for top in OURS:
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            if any(part in name for part in NAMES) and "aiprov-lab" not in name:
                print(os.path.join(folder, name))
for path in glob.glob("/root/.ansible/tmp/*") + glob.glob("/home/*/.ansible/tmp/*"):
    print(path)
KEPT = ("/run/aiprov", "/run/aiprov-lab")  # what programs keep until the next boot; the lab's
print("".join(path for path in glob.glob("/run/aiprov*") if path not in KEPT))
print(subprocess.check_output(["dpkg", "--audit"]).decode())
print("".join(glob.glob("/var/lib/dpkg/updates/[0-9]*")))
"""


def contents(top: Path) -> Iterator[tuple[Path, bytes]]:
    """The files below a folder, and what is in them; others may remove some meanwhile."""
    for folder, _, names in os.walk(top):
        for path in (Path(folder, name) for name in names):
            if not path.is_file():
                continue
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            yield path, data


def left_behind(lab: Lab, host: str) -> str:
    """What a run should not leave on a host: staged files, kept files, packages half installed."""
    return lab.run(host, ["/usr/bin/python3", "-"], stdin=LEFT.encode()).stdout.decode().strip()
