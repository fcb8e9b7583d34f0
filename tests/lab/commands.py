"""The real command line against lab hosts, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiprov.lab import Lab

ROLES = {
    "aiprov_roles": ["base", "containerd", "docker"],
    "containerd_source": "distribution",
    "docker_source": "distribution",
    "containerd_config_extra": {
        "plugins": {"io.containerd.grpc.v1.cri": {"restrict_oom_score_adj": True}}
    },
    "base_sysctls": {"net.ipv4.ip_forward": "1"},
}


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


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

    def start(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "aiprov", verb, *self.inventory, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.folder),
        )

    def aiprov(self, verb: str, *arguments: str, stdin: str = "") -> Said:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "aiprov", verb, *self.inventory, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            env=environment(self.folder),
        )
        return Said(done.returncode, done.stdout, done.stderr)


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
        status = os.lstat(path)
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
