"""Initial RAM disks that are no older than the files that were copied into them.

initramfs F…            0: no kernel's initial RAM disk is older than one of these files
initramfs --rebuild F…  make the older ones anew, with the tool that made them

Kernels without one need none. To be run as root, Python 3.6.
"""

import argparse
import os
import subprocess
import sys
from typing import Dict, List, Tuple

ROOT = os.environ.get("AIPROV_TEST_ROOT", "/")
"""Another root, for tests only."""


def at(path: str) -> str:
    return os.path.join(ROOT, path.lstrip("/"))


def older(files: List[str]) -> Dict[str, Tuple[str, ...]]:
    """The initial RAM disks that are older than one of these files, and how each is made anew.

    A file that is put in place has its time of change then, whatever its content's time says.
    """
    changed = max([os.stat(at(path)).st_ctime for path in files if os.path.exists(at(path))] or [0])
    found: Dict[str, Tuple[str, ...]] = {}
    modules = at("/lib/modules")
    for kernel in sorted(os.listdir(modules)) if os.path.isdir(modules) else ():
        dracut = f"/boot/initramfs-{kernel}.img"
        ways = {
            f"/boot/initrd.img-{kernel}": ("update-initramfs", "-u", "-k", kernel),
            dracut: ("dracut", "--force", dracut, kernel),
        }
        for path, argv in ways.items():
            if os.path.exists(at(path)) and os.stat(at(path)).st_mtime < changed:
                found[path] = argv
    return found


def rebuilt(files: List[str]) -> int:
    """Make the older ones anew: the exit status of the first that cannot be made."""
    for path, argv in older(files).items():
        try:
            status = subprocess.call(argv)
        except FileNotFoundError:
            print(f"{path} is too old and {argv[0]} is not installed", file=sys.stderr)
            status = 1
        if status:
            print(f"{path} was not made anew by {' '.join(argv)}", file=sys.stderr)
            return status
        print(f"{path} made anew")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rebuild", action="store_true")
    arguments = parser.parse_args()
    if arguments.rebuild:
        return rebuilt(arguments.files)
    found = older(arguments.files)
    for path in found:
        print(f"{path} is older than its configuration", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
