#!/usr/bin/python3
"""Stand-in of aiprov's lab: nvidia-modprobe, which loads the driver's modules for users."""

import argparse
import os
import subprocess
import sys

VERSION = "@VERSION@"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="nvidia-modprobe",
        description="Stand-in of aiprov's lab: loads the simulated NVIDIA modules.",
    )
    version = "nvidia-modprobe:  version %s\nStand-in of aiprov's lab." % VERSION
    parser.add_argument("-v", "--version", action="store_true")
    parser.add_argument("-c", "--create-nvidia-device-file", metavar="MINOR", action="append")
    parser.add_argument("-u", "--unified-memory", action="store_true")
    parser.add_argument("-m", "--modeset", action="store_true")
    parser.add_argument("-l", "--nvlink", action="store_true")
    given, _ = parser.parse_known_args()
    if given.version:
        print(version)
        return 0
    modules = ["nvidia"]
    modules += ["nvidia-uvm"] if given.unified_memory else []
    modules += ["nvidia-modeset"] if given.modeset else []
    for module in modules:
        done = subprocess.run(["modprobe", module], check=False, env=dict(os.environ))
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
