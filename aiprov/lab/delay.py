"""A long way between the machine and its hosts: every packet is kept for half a round trip.

``tc netem`` does this where the kernel has it. Elsewhere this daemon does: the machine's address
moves from the bridge to a tap device, and frames travel through here to a second tap device on the
bridge. Both devices end with the daemon. Hosts reach each other as before.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab import daemon, network
from aiprov.lab.machine import call, run, until
from aiprov.lab.state import Folder, Network, locked

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_FRAME = 65536
_NO_NETEM = b"qdisc kind is unknown"


def link_delay(directory: Path, milliseconds: float) -> None:
    """Add this much to every round trip between the machine and its hosts; 0 takes it away."""
    folder = Folder(directory.absolute())
    net = folder.network()
    with locked(folder.lock):
        _clear(folder, net)
        if milliseconds <= 0:
            return
        amount = f"{milliseconds:g}ms"
        netem = call(
            ["tc", "qdisc", "replace", "dev", net.bridge, "root", "netem", "delay", amount]
        )
        if netem.returncode == 0:
            return
        if _NO_NETEM not in netem.stderr:
            raise LabError(f"tc: {netem.stderr.decode(errors='replace').strip()}")
        daemon.start("aiprov.lab.delay", folder.delay, [str(folder.root), f"{milliseconds:g}"])
        near, _ = ends(net)
        until(lambda: holds(near, net.gateway), "the delay to take effect", timeout=120)


def _clear(folder: Folder, net: Network) -> None:
    daemon.stop(folder.delay)
    if b"netem" in call(["tc", "qdisc", "show", "dev", net.bridge]).stdout:
        run(["tc", "qdisc", "delete", "dev", net.bridge, "root"])
    network.configure(net)
    announce(net, net.bridge)


def ends(net: Network) -> tuple[str, str]:
    """The names of the machine's end and of the bridge's end."""
    return f"{net.bridge}-m", f"{net.bridge}-b"


def holds(device: str, address: str) -> bool:
    """Whether a device has an address and is in use."""
    shown = call(["ip", "-4", "-oneline", "address", "show", "dev", device, "up"])
    return f" {address}/".encode() in shown.stdout


def tap(name: str) -> int:
    """A tap device that exists as long as its descriptor is open."""
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP_NO_PI)
    fcntl.ioctl(handle, _TUNSETIFF, request)
    return handle


def announce(net: Network, device: str) -> None:
    """Tell every host where the machine's address is now (a gratuitous ARP request)."""
    text = (Path("/sys/class/net") / device / "address").read_text(encoding="ascii")
    hardware = bytes.fromhex(text.strip().replace(":", ""))
    address = socket.inet_aton(net.gateway)
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, hardware, address, bytes(6), address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
        line.bind((device, 0))
        line.send(b"\xff" * 6 + hardware + struct.pack("!H", 0x0806) + arp)


class Line:
    """One direction: frames in their order, each with the time at which it is due."""

    def __init__(self, source: int, target: int, delay: float) -> None:
        self.source, self.target, self.delay = source, target, delay
        self.waiting: deque[tuple[float, bytes]] = deque()

    def take(self, now: float) -> None:
        """Read all that has arrived."""
        while True:
            try:
                frame = os.read(self.source, _FRAME)
            except BlockingIOError:
                return
            self.waiting.append((now + self.delay, frame))

    def give(self, now: float) -> None:
        """Write all that is due. A full device drops a frame, as a real one does."""
        while self.waiting and self.waiting[0][0] <= now:
            _, frame = self.waiting.popleft()
            try:
                os.write(self.target, frame)
            except BlockingIOError:
                continue


def carry(lines: list[Line]) -> None:
    """Carry frames for ever."""
    sources = [line.source for line in lines]
    while True:
        due = [line.waiting[0][0] for line in lines if line.waiting]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select(sources, [], [], wait)
        now = time.monotonic()
        for line in lines:
            if line.source in ready:
                line.take(now)
            line.give(now)


def main(arguments: list[str]) -> int:
    """The delay of a lab: ``python -m aiprov.lab.delay FOLDER MILLISECONDS``."""
    folder, delay = Folder(Path(arguments[0])), float(arguments[1]) / 2000
    held = daemon.claim(folder, folder.delay)
    if held is None:
        return 1
    net = folder.network()
    near, far = ends(net)
    machine, bridge = tap(near), tap(far)
    network.confine(near)
    network.confine(far)
    run(["ip", "link", "set", far, "master", net.bridge, "up"])
    run(["ip", "address", "delete", f"{net.gateway}/24", "dev", net.bridge])
    run(["ip", "address", "add", f"{net.gateway}/24", "dev", near])
    run(["ip", "link", "set", near, "up"])
    announce(net, near)
    carry([Line(machine, bridge, delay), Line(bridge, machine, delay)])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
