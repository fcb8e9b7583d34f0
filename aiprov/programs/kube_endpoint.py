"""The control plane's endpoint on this host.

alive ADDRESS PORT         0: something takes connections there; keepalived asks so for haproxy
selinux-allows BOOLEAN…    0: SELinux is off here, or allows this
selinux-allow BOOLEAN…     let SELinux allow it, now and after a reboot

Exit status 1 is a no, 2 a failure, told on standard error. Python 3.6.
"""

import argparse
import socket
import subprocess
import sys
from typing import List


def alive(address: str, port: str) -> int:
    try:
        socket.create_connection((address, int(port)), timeout=2).close()
    except OSError as error:
        print(f"{address} port {port}: {error}")
        return 1
    return 0


def said(*argv: str) -> str:
    """What a program says, on standard error too; empty where it is not there."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def denied(booleans: List[str]) -> List[str]:
    """Those that SELinux knows and has off. A policy that lacks one does not confine by it."""
    if said("getenforce") in ("", "Disabled"):
        return []
    return [name for name in booleans if said("getsebool", name).endswith("--> off")]


def allow(booleans: List[str]) -> int:
    for name in denied(booleans):
        answer = said("setsebool", "-P", name, "on")
        if denied([name]):
            sys.stderr.write(f"SELinux does not take {name}: {answer}\nhint: see setsebool(8)\n")
            return 2
        print(f"SELinux: {name} is on")
    return 0


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="kube-endpoint", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("verb", choices=("alive", "selinux-allows", "selinux-allow"))
    parser.add_argument("words", nargs="+", help="address and port, or SELinux booleans")
    given = parser.parse_args(arguments)
    if given.verb == "alive":
        if len(given.words) != 2 or not given.words[1].isdigit():
            parser.error("alive needs an address and a port")
        return alive(*given.words)
    if given.verb == "selinux-allow":
        return allow(given.words)
    off = denied(given.words)
    for name in off:
        print(f"SELinux: {name} is off")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
