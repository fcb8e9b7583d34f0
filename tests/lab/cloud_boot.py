"""A lab host as a cloud image: Debian's own cloud-init, a NoCloud seed, and its first boot."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from aiprov.errors import LabError
from aiprov.lab import access
from aiprov.lab.machine import Process

SEED = "/var/lib/cloud/seed/nocloud"
RESULT = "/var/lib/aiprov/first-boot.json"
LOG = "/var/log/aiprov-first-boot.log"

# The lab made the host's network, keys and accounts; a cloud image would leave them to cloud-init.
_IMAGE = """datasource_list: [NoCloud, None]
network: {config: disabled}
ssh_deletekeys: false
disable_root: false
locale: false
"""


def install_cloud_init(host) -> None:
    """Make an image of the host: nothing of ours, and cloud-init as its suite delivers it."""
    quiet = ("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0")
    host.run([*quiet, "update"])
    host.run([*quiet, "-y", "--no-install-recommends", "install", "cloud-init"])
    put(host, "/etc/cloud/cloud.cfg.d/99-lab.cfg", _IMAGE)


def put(host, path: str, text: str) -> None:
    """Lay a file on the host."""
    host.run(["install", "-D", "-m", "600", "/dev/stdin", path], stdin=text.encode())


def boot(host, user_data: str) -> None:
    """Boot the host as a new instance with that user-data."""
    name = f"{host.name}-{time.monotonic_ns()}"
    put(host, f"{SEED}/meta-data", f"instance-id: {name}\nlocal-hostname: {host.name}\n")
    put(host, f"{SEED}/user-data", user_data)
    host.run(["cloud-init", "clean", "--logs"])
    host.run(["rm", "-f", RESULT, LOG])
    reboot(host)


def reboot(host) -> None:
    """Reboot, and wait until another boot has begun: it may itself reboot before it is done."""
    before = current_boot(host)
    host.run(["systemctl", "reboot"], check=False)
    until(lambda: current_boot(host) not in (None, before), "another boot", 300)


def current_boot(host) -> Process | None:
    """The process that is this boot of the host; ``None`` while it is down."""
    return access.current_boot(host.lab.folder, host.lab.hosts[host.name])


def result(host) -> Mapping[str, Any]:
    """What the first boot says of itself; empty while it has not begun or the host is down."""
    try:
        done = host.run(["cat", RESULT], check=False)
    except LabError:
        return {}
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}


def ended(host, timeout: float = 900) -> Mapping[str, Any]:
    """Wait for the end of the first boot, through its reboots."""
    seen: dict[str, Any] = {}

    def over() -> bool:
        seen.update(result(host))
        return seen.get("status") in ("done", "failed")

    until(over, "the end of the first boot", timeout)
    return seen


def until(question, what: str, timeout: float) -> None:
    """Wait for a yes."""
    deadline = time.monotonic() + timeout
    while not question():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
        time.sleep(0.5)
