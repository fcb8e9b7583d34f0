"""The lab's network: one bridge per lab in the machine's own namespace, so that plain ssh works.

Labs live side by side: each takes the first slot whose bridge name and subnet are free. A bridge is
made with a hardware address of the lab's choice, so that making it and claiming it are one step.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab.machine import ENDS_S, call, run, until
from aiprov.lab.state import Folder, Intent, Network

PREFIX = "aplab"
_SLOTS = range(1, 251)
_BLOCK = "10.213"
_SYS_NET = Path("/sys/class/net")


def taken() -> list[ipaddress.IPv4Network]:
    """Every subnet that this machine has an address in or a route to, the default route aside."""
    found = []
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        target = route.get("dst", "default")
        if target not in {"default", "0.0.0.0/0"}:
            found.append(ipaddress.ip_network(target, strict=False))
    return [network for network in found if isinstance(network, ipaddress.IPv4Network)]


def free(slot: int, used: Iterable[ipaddress.IPv4Network]) -> bool:
    own = ipaddress.ip_network(f"{_BLOCK}.{slot}.0/24")
    return not any(own.overlaps(network) for network in used)


def create(folder: Folder) -> Network:
    """Make the lab's bridge in the first free slot."""
    mark = "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))
    used = taken()
    for slot in _SLOTS:
        name = f"{PREFIX}{slot}"
        if (_SYS_NET / name).exists() or not free(slot, used):
            continue
        folder.journal.record(Intent("bridge", name, mark))
        made = call(["ip", "link", "add", "name", name, "address", mark, "type", "bridge"])
        if made.returncode == 0:
            network = Network(bridge=name, mark=mark, prefix=f"{_BLOCK}.{slot}")
            folder.write_network(network)
            return network
        if b"File exists" not in made.stderr:
            raise LabError(f"cannot make a bridge: {made.stderr.decode().strip()}")
    raise LabError("no free network for a lab", hint="take labs down that are no longer needed")


def configure(network: Network) -> None:
    """Give the bridge its address."""
    confine(network.bridge)
    run(["ip", "address", "replace", f"{network.gateway}/24", "dev", network.bridge])
    run(["ip", "link", "set", network.bridge, "up"])


def confine(device: str) -> None:
    """Nothing that comes in here is forwarded beyond the machine."""
    for knob, value in (("ipv4/conf/{}/forwarding", "0"), ("ipv6/conf/{}/disable_ipv6", "1")):
        path = Path("/proc/sys/net") / knob.format(device)
        if path.exists():
            path.write_text(value, encoding="ascii")


def port(machine: str) -> str:
    """The host's end of its cable, named by systemd-nspawn."""
    return f"vb-{machine}"


def plug(machine: str, connected: bool) -> None:
    """Connect or cut a host's cable."""
    run(["ip", "link", "set", port(machine), "up" if connected else "down"])


def unplug(*cables: str) -> None:
    """Take the cables of ended hosts away.

    The kernel does so by itself, but late where a host ended with connections open: until they are
    given up, its network lives on.
    """
    for cable in cables:
        call(["ip", "link", "delete", cable])  # the kernel may have been quicker
    until(
        lambda: not any((_SYS_NET / cable).exists() for cable in cables),
        f"the interfaces {' '.join(cables)} to vanish",
        timeout=ENDS_S,
    )


def remove(intent: Intent) -> None:
    """Remove the bridge of an intent, if it came to be and is this lab's."""
    if _mark(intent.name) == intent.mark:
        unplug(*(path.name for path in (_SYS_NET / intent.name / "brif").glob("vb-*")))
        run(["ip", "link", "delete", intent.name])


def _mark(bridge: str) -> str | None:
    """A bridge's hardware address; ``None`` where there is none, or while the kernel removes it."""
    try:
        return (_SYS_NET / bridge / "address").read_text(encoding="ascii").strip()
    except OSError:
        return None
