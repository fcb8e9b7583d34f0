#!/usr/bin/python3
"""Stand-in of aiprov's lab: gdrcopy_sanity, which passes where its node is."""

import os
import sys

VERSION = "@VERSION@"
TESTS = ("basic_cumemalloc", "basic_with_tokens", "data_validation_cumemalloc", "invalidation")


def main() -> int:
    if "--version" in sys.argv or "-h" in sys.argv:
        print("gdrcopy_sanity %s (stand-in of aiprov's lab)" % VERSION)
        return 0
    if not os.path.exists("/dev/gdrdrv"):
        print("gdr_open error: Is gdrdrv driver installed and loaded?", file=sys.stderr)
        return 1
    print("Total: %d, Passed: %d, Failed: 0, Waived: 0" % (len(TESTS), len(TESTS)))
    for name in TESTS:
        print("%s: PASSED" % name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
