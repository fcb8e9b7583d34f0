"""What a lab has written down about itself: its folder, its journal, its hosts.

Everything that a lab creates outside its folder is written into the journal first, so that ``down``
finds it again whatever happened to the process that made it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiprov.errors import LabError
from aiprov.lab.machine import replace

FORMAT_VERSION = 1
KUBERNETES = "lab_kubernetes"
"""The inventory's group of the hosts that are made for Kubernetes."""


def default_directory() -> Path:
    """``AIPROV_LAB_DIR``, or ``.lab`` in the current directory."""
    return Path(os.environ.get("AIPROV_LAB_DIR") or ".lab").absolute()


def cache_directory() -> Path:
    """``AIPROV_LAB_CACHE``, or a folder of the machine: base trees and packages."""
    return Path(os.environ.get("AIPROV_LAB_CACHE") or "/var/cache/aiprov/lab")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a file lock; the kernel lets go of it when the process ends, however it ends."""
    with path.open("a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LabError(f"{path} is held by another process") from None
        yield


@dataclass(frozen=True)
class Intent:
    """Something that is about to be created outside the lab's folder."""

    kind: str  # "bridge" or "group"
    name: str
    mark: str = ""  # how to tell ours from another's: the bridge's hardware address


class Journal:
    """Intents, one JSON line each, on disk before the deed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, intent: Intent) -> None:
        if intent in self.intents():
            return
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(intent), sort_keys=True) + "\n")
            out.flush()
            os.fsync(out.fileno())

    def intents(self) -> list[Intent]:
        """All intents, oldest first. A line that was cut off announced nothing that was done."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                found.append(Intent(**json.loads(line)))
        return found


@dataclass(frozen=True, kw_only=True)
class Network:
    """The lab's own network: a bridge, and the addresses on it."""

    bridge: str  # also the name of the lab's control group
    mark: str
    prefix: str  # the first three numbers of its /24

    @property
    def gateway(self) -> str:
        return f"{self.prefix}.1"

    def address(self, index: int) -> str:
        return f"{self.prefix}.{10 + index}"


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host of a lab."""

    name: str
    index: int
    address: str
    suite: str
    python: bool
    machine: str
    group: str
    groups: tuple[str, ...] = ()
    variables: tuple[tuple[str, Any], ...] = ()


class Folder:
    """Where everything in a lab's folder is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "lock"
        self.closing = root / "closing"
        self.journal = Journal(root / "journal")
        self.network_file = root / "network.json"
        self.key = root / "id_ed25519"
        self.known_hosts = root / "known_hosts"
        self.ssh_config = root / "ssh_config"
        self.inventory = root / "inventory.yml"
        self.password = root / "ops-password"
        self.hosts = root / "hosts"
        self.proxy = root / "proxy"
        self.delay = root / "delay"
        self.variables = root / "variables.json"
        self.vendor = root / "vendor.json"
        self.images = root / "images"

    def host(self, name: str) -> Path:
        return self.hosts / name

    def tree(self, name: str) -> Path:
        return self.hosts / name / "root"

    def network(self) -> Network:
        try:
            return Network(**json.loads(self.network_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise LabError(
                f"there is no lab in {self.root}", hint="start one with: aiprov lab up"
            ) from None

    def write_network(self, network: Network) -> None:
        replace(self.network_file, json.dumps(asdict(network), sort_keys=True))

    def read_hosts(self) -> list[Host]:
        """The hosts that have been begun, in order of their addresses."""
        found = []
        for path in self.hosts.glob("*/host.json"):
            fields = json.loads(path.read_text(encoding="utf-8"))
            fields["groups"] = tuple(fields["groups"])
            fields["variables"] = tuple((k, v) for k, v in fields["variables"])
            found.append(Host(**fields))
        return sorted(found, key=lambda host: host.index)

    def read_host(self, name: str) -> Host:
        for host in self.read_hosts():
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.read_hosts()) or "none"
        raise LabError(f"the lab has no host {name!r}", hint=f"its hosts are: {names}")

    def write_host(self, host: Host) -> None:
        self.host(host.name).mkdir(parents=True, exist_ok=True)
        replace(self.host(host.name) / "host.json", json.dumps(asdict(host), sort_keys=True))
