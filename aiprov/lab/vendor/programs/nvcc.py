#!/usr/bin/python3
"""Stand-in of aiprov's lab: nvcc, which says its version and compiles nothing."""

import sys

VERSION = "@VERSION@"


def main() -> int:
    release = VERSION.rpartition(".")[0]
    if set(sys.argv[1:]) & {"--version", "-V"}:
        print("nvcc: NVIDIA (R) Cuda compiler driver")
        print("Copyright (c) 2005-2026 NVIDIA Corporation (stand-in of aiprov's lab)")
        print("Built on Sat_Nov_21_00:00:00_UTC_2026")
        print("Cuda compilation tools, release %s, V%s" % (release, VERSION))
        print("Build cuda_%s.r%s/compiler.0_0" % (release, release))
        return 0
    if set(sys.argv[1:]) & {"--help", "-h"}:
        print("nvcc: stand-in of aiprov's lab for CUDA %s: it knows --version alone" % release)
        return 0
    if len(sys.argv) == 1:
        print("nvcc fatal   : No input files specified; use option --help", file=sys.stderr)
        return 1
    print("nvcc fatal   : this stand-in of aiprov's lab compiles nothing", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
