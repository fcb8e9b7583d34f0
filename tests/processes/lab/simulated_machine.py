"""A simulated GPU host below a root of its own: its programs run on this machine, without root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from aiprov.lab import pci, simulated
from aiprov.lab.gpus import gpus

HOME = Path(simulated.__file__).parent
OPEN, CLOSED = "Dual MIT/GPL", "NVIDIA"
MODINFO = """#!/bin/sh
# modinfo NAME, of a host without kmod
file="$(dirname "$0")/../../lib/modules/$(echo "$1" | tr - _)"
[ -f "$file" ] || exit 1
cat "$file"
"""
REAL = '#!/bin/sh\necho "real $(basename "$0") $*"\n'


@dataclass(frozen=True)
class Machine:
    """A root with simulated GPUs."""

    root: Path
    python: str = sys.executable

    def run(self, program: str, *words: str) -> tuple[int, str]:
        """Exit status, and all that a program says."""
        called = self.root / "called" / program
        if not called.exists():
            called.parent.mkdir(exist_ok=True)
            name = {"nvidia-smi": "nvidia_smi", "fault": "fault"}.get(program, "modules")
            called.symlink_to(HOME / f"{name}.py")
        done = subprocess.run(
            [self.python, called, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={"AIPROV_LAB_ROOT": str(self.root), "AIPROV_LAB_HOME": str(HOME), "PATH": "/bin"},
        )
        return done.returncode, done.stdout

    def smi(self, *words: str) -> str:
        """What nvidia-smi says when it succeeds."""
        status, said = self.run("nvidia-smi", *words)
        assert status == 0, said
        return said

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def install(self, version: str = "580.95.05", license: str = OPEN, kernel: str = "") -> None:
        """The driver's modules and library."""
        (self.root / "lib/modules").mkdir(parents=True, exist_ok=True)
        for name in ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm", "nvidia_peermem"):
            kernel = kernel or os.uname().release
            text = f"filename: /lib/modules/{name}.ko\nversion: {version}\nlicense: {license}\n"
            (self.root / "lib/modules" / name).write_text(f"{text}vermagic: {kernel} SMP\n")
        self.library(version)

    def library(self, version: str) -> None:
        folder = self.root / "usr/lib/x86_64-linux-gnu"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "libnvidia-ml.so.1").unlink(missing_ok=True)
        (folder / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{version}")

    def loaded(self, *words: str, **driver: str) -> Machine:
        """The same machine with the driver installed and loaded."""
        self.install(**driver)
        assert self.run("modprobe", "nvidia", *words) == (0, "")
        return self

    def hold(self, node: str, pid: str = "4242", name: str = "train") -> None:
        """A process that has a device open."""
        handles = self.root / "proc" / pid / "fd"
        handles.mkdir(parents=True, exist_ok=True)
        (handles / "3").unlink(missing_ok=True)
        (handles / "3").symlink_to(f"/dev/{node}")
        (self.root / "proc" / pid / "comm").write_text(f"{name}\n")
        (self.root / "proc" / pid / "cmdline").write_text(f"{name}\0--all\0")

    def let_go(self, pid: str = "4242") -> None:
        (self.root / "proc" / pid / "fd/3").unlink()

    def reboot(self) -> None:
        """What a boot leaves of the host."""
        for word in ("run", "proc/driver", "sys", "dev"):
            subprocess.run(["rm", "-r", "-f", self.root / word], check=True)
        boot(self.root)


def boot(root: Path) -> None:
    """The kernel's side of a booted host."""
    for place in ("proc", "sys/module", "sys/bus/pci/drivers", "dev", "run"):
        (root / place).mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cp", "-r", root / simulated.HOME / "pci", root / "sys/bus/pci/devices"], check=True
    )


def machine(root: Path, text: str, python: str = sys.executable) -> Machine:
    """A host as ``aiprov lab up --gpus TEXT`` makes it, without a driver."""
    has = gpus(text)
    home = root / simulated.HOME
    home.mkdir(parents=True)
    (home / "gpus.json").write_text(json.dumps(simulated.document(has, "the-machine")))
    pci.write(has.devices, home / "pci")
    (root / "usr/sbin").mkdir(parents=True)
    for name in ("modinfo", "modprobe", "rmmod", "lsmod", "insmod", "dmesg"):
        (root / "usr/sbin" / name).write_text(MODINFO if name == "modinfo" else REAL)
        (root / "usr/sbin" / name).chmod(0o755)
    boot(root)
    return Machine(root, python)
