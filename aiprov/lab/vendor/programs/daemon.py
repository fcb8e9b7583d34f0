#!/usr/bin/python3
"""Stand-in of aiprov's lab: NVIDIA's daemons, under each of their names.

What they check before they start, and the words with which they refuse, are the vendor's; then they
hold nothing, and wait to be ended.
"""

import os
import signal
import socket
import sys
import threading
from typing import Callable, Dict

VERSION = "@VERSION@"
DEVICES = "/sys/bus/pci/devices"


class Refused(Exception):
    """The daemon does not start, for this reason."""


def text_of(path: str) -> str:
    """A file's text without the end of its line; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read().strip()
    except OSError:
        return ""


def loaded() -> str:
    """The version of the driver that is loaded; empty where none is."""
    return text_of("/sys/module/nvidia/version")


def devices(kind: str) -> int:
    """How many NVIDIA devices of a class are on the bus."""
    found = 0
    for name in os.listdir(DEVICES) if os.path.isdir(DEVICES) else []:
        place = os.path.join(DEVICES, name)
        nvidia = text_of(place + "/vendor") == "0x10de"
        found += nvidia and text_of(place + "/class").startswith(kind)
    return found


def persistenced() -> None:
    """Needs a driver that has taken a GPU."""
    if not loaded():
        raise Refused(
            "Failed to query NVIDIA devices. Please ensure that the NVIDIA device files "
            "(/dev/nvidia*) exist, and that user 0 has read and write permissions for those files."
        )


def fabricmanager() -> None:
    """Needs the driver of its own version, and switches to manage.

    Words: journals of users with mismatched versions and without NVSwitches (2026-11-21).
    """
    version = loaded()
    if not version:
        raise Refused(
            "request to query NVSwitch device information from NVSwitch driver failed with "
            "error:WARNING Library RM initialization error"
        )
    if version != VERSION:
        raise Refused(
            "fabric manager NVIDIA GPU driver interface version %s don't match with driver "
            "version %s. Please update with matching NVIDIA driver package." % (VERSION, version)
        )
    subnet_manager = bool(text_of("/run/nvlsm.pid"))
    if not devices("0x0680") and not subnet_manager:
        raise Refused(
            "request to query NVSwitch device information from NVSwitch driver failed with "
            "error:WARNING Nothing to do [NV_WARN_NOTHING_TO_DO]"
        )


def imex() -> None:
    """Needs the driver."""
    if not loaded():
        raise Refused("NVIDIA IMEX: the NVIDIA driver is not loaded")


def subnet_manager() -> None:
    """Needs the InfiniBand management device."""
    if not os.path.isdir("/sys/module/ib_umad"):
        raise Refused("OpenSM: no local ports detected: is ib_umad loaded?")


def hostengine() -> None:
    """Answers on its port, by which dcgmi finds it. Needs the port to be free."""
    words = dict(zip(sys.argv[1:], sys.argv[2:]))
    address = words.get("-b", "127.0.0.1").replace("ALL", "")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, int(words.get("-p", "5555"))))
    except OSError as error:
        raise Refused("Err: Failed to start DCGM Server: %s" % error) from None
    listener.listen(16)

    def answer() -> None:
        while True:
            listener.accept()[0].close()

    threading.Thread(target=answer, daemon=True).start()


CHECKS: Dict[str, Callable[[], None]] = {
    "nvidia-persistenced": persistenced,
    "nv-fabricmanager": fabricmanager,
    "nvidia-imex": imex,
    "nvlsm": subnet_manager,
    "nv-hostengine": hostengine,
}
PID_FILES = {
    "nvidia-persistenced": "/run/nvidia-persistenced/nvidia-persistenced.pid",
    "nv-fabricmanager": "/run/nvidia-fabricmanager/nv-fabricmanager.pid",
    "nvidia-imex": "/run/nvidia-imex/nvidia-imex.pid",
    "nvlsm": "/run/nvlsm.pid",
    "nv-hostengine": "/run/nvhostengine.pid",
}
NAMED = {
    "nvidia-persistenced": "nvidia-persistenced:  version %s",
    "nv-fabricmanager": "Fabric Manager version is : %s",
    "nvidia-imex": "IMEX version is: %s",
    "nvlsm": "NVLink Subnet Manager %s",
    "nv-hostengine": "Version : %s",
}


def notify(state: str) -> None:
    """Tell systemd how far it is."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(state.encode(), address)


def serve(name: str) -> int:
    """Say where it is and wait for the signal that ends it."""
    ending = (signal.SIGTERM, signal.SIGINT)
    place = PID_FILES[name]
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w", encoding="ascii") as out:
        out.write("%d\n" % os.getpid())
    print("%s %s started (stand-in of aiprov's lab)" % (name, VERSION), flush=True)
    notify("READY=1")
    signal.sigwait(ending)
    notify("STOPPING=1")
    os.unlink(place)
    return 0


def main() -> int:
    name = os.path.basename(sys.argv[0])
    if set(sys.argv[1:]) & {"--version", "-v"}:
        print(NAMED[name] % VERSION)
        print("Stand-in of aiprov's lab.")
        return 0
    if set(sys.argv[1:]) & {"--help", "-h"}:
        print("%s: stand-in of aiprov's lab for NVIDIA's daemon, version %s" % (name, VERSION))
        return 0
    # Before any thread is there, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        CHECKS[name]()
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    return serve(name)


if __name__ == "__main__":
    sys.exit(main())
