#!/usr/bin/python3
"""Stand-in of aiprov's lab: what a simulated GPU host does at boot, before sysinit.

It makes the parts of /sys and /proc in which the simulated modules are seen, all in memory of this
host and gone with the boot, and then loads what a real host would load by itself.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: PTH102, PTH112, UP006, UP035
import os
import shutil
import subprocess
import sys
from typing import Dict, List

sys.path.insert(0, os.environ.get("AIPROV_LAB_HOME", "/usr/lib/aiprov-lab"))
import modules  # type: ignore[import-not-found]
import simulated_gpus as lab  # type: ignore[import-not-found]

_CONFIGS = ("/etc/modules-load.d", "/run/modules-load.d", "/usr/lib/modules-load.d")


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def mount_fresh(place: str) -> None:
    """Lay an empty file system in memory over a folder."""
    run("mount", "-t", "tmpfs", "-o", "mode=755", "aiprov-lab", place)


def prepare() -> None:
    """The host's own modules, drivers and devices: systemd-nspawn shows those of the machine."""
    if not os.path.isdir("/sys/module"):
        run("mount", "-o", "remount,rw", "/sys")
        os.mkdir("/sys/module")
        run("mount", "-o", "remount,ro", "/sys")
    mount_fresh("/sys/module")
    for name in lab.hardware()["modules"]:
        os.mkdir("/sys/module/" + name)
    mount_fresh("/sys/bus/pci/drivers")
    mount_fresh("/proc/driver")
    shutil.copytree("/usr/lib/aiprov-lab/pci", "/run/aiprov-lab/pci")
    # Not over the first mount: it shares what is mounted on it with the folder that it shows.
    run("umount", lab.DEVICES)
    run("mount", "--bind", "/run/aiprov-lab/pci", lab.DEVICES)


def asked_for() -> List[str]:
    """The modules that modules-load.d names, without those that are not simulated."""
    files: Dict[str, str] = {}
    for folder in _CONFIGS:
        for name in lab.names_in(folder):
            if name.endswith(".conf"):
                files.setdefault(name, f"{folder}/{name}")
    lines = [line for name in sorted(files) for line in lab.text_of(files[name]).splitlines()]
    words = [line.strip() for line in lines if line.strip() and line.strip()[0] not in "#;"]
    return [word for word in words if modules.kernel_name(word) in modules.NEEDS]


def main() -> int:
    """Prepare, load by modalias, load by name, in a real host's order."""
    prepare()
    addresses = list(lab.on_bus())
    for code, index in lab.hardware()["xids"]:
        lab.kernel_log(lab.xid_line(addresses[index], code))
    if lab.hardware()["nouveau"]:
        modules.modprobe(["-bq", "nouveau"])
    if addresses:
        modules.modprobe(["-bq", "nvidia"])
    for name in asked_for():
        modules.modprobe(["-b", name])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
