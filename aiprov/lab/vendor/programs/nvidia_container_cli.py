#!/usr/bin/python3
"""Stand-in of aiprov's lab: nvidia-container-cli, which says what driver and GPUs there are."""

import re
import subprocess
import sys
from typing import List

VERSION = "@VERSION@"


def gpus() -> List[str]:
    """What ``nvidia-smi -L`` says; empty where there is no driver."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, check=False)
    except OSError:
        return []
    return done.stdout.decode(errors="replace").splitlines() if done.returncode == 0 else []


def info(found: List[str]) -> None:
    """``info``"""
    with open("/sys/module/nvidia/version", encoding="ascii") as source:
        print("NVRM version:   %s" % source.read().strip())
    for line in found:
        gpu = re.match(r"GPU (\d+): (.*) \(UUID: (\S+)\)", line)
        if gpu:
            print("\nDevice Index:   %s\nDevice Minor:   %s" % (gpu.group(1), gpu.group(1)))
            print("Model:          %s\nGPU UUID:       %s" % (gpu.group(2), gpu.group(3)))


def main() -> int:
    words = sys.argv[1:]
    if "--version" in words or "-V" in words:
        print("cli-version: %s\nlib-version: %s\n(stand-in of aiprov's lab)" % (VERSION, VERSION))
        return 0
    if not {"info", "list"} & set(words):
        print("nvidia-container-cli: stand-in of aiprov's lab: it knows info and list alone")
        return 0 if not words or words[0] in ("-?", "--help") else 1
    found = gpus()
    if not found:
        print("nvidia-container-cli: initialization error: nvml error: driver not loaded",
              file=sys.stderr)  # fmt: skip
        return 1
    if "info" in words:
        info(found)
    else:
        print("/dev/nvidiactl\n/dev/nvidia-uvm")
        print("\n".join("/dev/nvidia%d" % number for number in range(len(found))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
