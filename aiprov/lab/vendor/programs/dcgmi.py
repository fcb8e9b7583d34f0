#!/usr/bin/python3
"""Stand-in of aiprov's lab: dcgmi, on simulated GPUs: discovery and the first level of diag.

Formats: outputs of DCGM 4 that users show (2026-11-21).
"""

import json
import os
import socket
import subprocess
import sys
from typing import Any, Dict, List

VERSION = "@VERSION@"
_WIDTH = 68
_NO_ENGINE = (
    "Error: unable to establish a connection to the specified host: localhost\n"
    "Error: Unable to connect to host engine. Host engine connection invalid/disconnected."
)


def engine(words: List[str]) -> bool:
    """Whether a host engine answers where the command line says, or where it does by itself."""
    given = words[words.index("--host") + 1] if "--host" in words[:-1] else "127.0.0.1:5555"
    host, colon, port = given.rpartition(":")
    address = (host.strip("[]"), int(port)) if colon else (given, 5555)
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True


def gpus() -> List[List[str]]:
    """Index, name, bus id and UUID of every GPU; none where the driver does not answer."""
    fields = "--query-gpu=index,name,pci.bus_id,uuid"
    try:
        done = subprocess.run(
            ["nvidia-smi", fields, "--format=csv,noheader"], stdout=subprocess.PIPE, check=False
        )
    except OSError:
        return []
    if done.returncode:
        return []
    return [line.split(", ") for line in done.stdout.decode().splitlines() if line]


def switches() -> int:
    """How many NVSwitches the driver serves."""
    place = "/proc/driver/nvidia-nvswitch/devices"
    return len(os.listdir(place)) if os.path.isdir(place) else 0


def discovery() -> int:
    """``discovery -l``"""
    found = gpus()
    rule = "+--------+" + "-" * (_WIDTH + 2) + "+"
    print("%d GPU%s found." % (len(found), "" if len(found) == 1 else "s"))
    print("%s\n| GPU ID | %-*s |\n%s" % (rule, _WIDTH, "Device Information", rule))
    for index, name, bus, uuid in found:
        print("| %-6s | %-*s |" % (index, _WIDTH, "Name: " + name))
        print("| %-6s | %-*s |" % ("", _WIDTH, "PCI Bus ID: " + bus))
        print("| %-6s | %-*s |\n%s" % ("", _WIDTH, "Device UUID: " + uuid, rule))
    print("%d NvSwitches found." % switches())
    print("+-----------+\n| Switch ID |\n+-----------+")
    for number in range(switches()):
        print("| %-9d |" % number)
    print("+-----------+")
    return 0


def diag(words: List[str]) -> int:
    """``diag -r 1``"""
    found = gpus()
    level = words[words.index("-r") + 1] if "-r" in words[:-1] else "1"
    if level not in ("1", "short"):
        print("Error: this stand-in of aiprov's lab runs level 1 alone", file=sys.stderr)
        return 1
    status = "Pass" if found else "Fail"
    if "-j" not in words and "--json" not in words:
        print("Successfully ran diagnostic for group.")
        print("+---------------------------+------------------------------------------------+")
        for name in ("software",):
            print("| %-25s | %-46s |" % (name, status))
        print("+---------------------------+------------------------------------------------+")
        return 0 if found else 226
    print(json.dumps(report(found, status), indent=2))
    return 0 if found else 226


def report(found: List[List[str]], status: str) -> Dict[str, Any]:
    """The document of ``diag --json``."""
    results = [
        {"entity_group": "GPU", "entity_group_id": 1, "entity_id": int(row[0]), "status": status}
        for row in found
    ]
    software = {"name": "software", "results": results, "test_summary": {"status": status}}
    return {
        "DCGM Diagnostic": {
            "test_categories": [{"category": "Deployment", "tests": [software]}],
        },
        "entity_groups": [
            {
                "entity_group": "GPU",
                "entity_group_id": 1,
                "entities": [
                    {"entity_id": int(index), "serial_num": uuid, "device_id": name}
                    for index, name, _, uuid in found
                ],
            }
        ],
        "metadata": {"version": VERSION, "stand_in": "aiprov's lab"},
    }


def main() -> int:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print("dcgmi: stand-in of aiprov's lab: discovery --list, diag -r 1 [--json], --version")
        return 0
    if words[0] in ("-v", "--version"):
        print("\nVersion : %s\nStand-in of aiprov's lab.\n" % VERSION)
        return 0
    if not engine(words):
        print(_NO_ENGINE)
        return 255
    if words[0] == "discovery":
        return discovery()
    if words[0] == "diag":
        return diag(words)
    print("Error: this stand-in of aiprov's lab does not know %s" % words[0], file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
