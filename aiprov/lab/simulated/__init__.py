"""The simulated GPUs of a lab host: programs that run on it, and how they are laid into its tree.

The programs are of Python 3.6 and its standard library: ``modules`` is modprobe and its
kin, ``boot`` prepares a boot, ``fault`` breaks things, ``nvidia_smi`` is packed by the lab's vendor
packages. They find what the host has in ``gpus.json``, which is written here from the catalog.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiprov.catalog import drivers
from aiprov.catalog import gpus as catalog
from aiprov.catalog.performance import performance
from aiprov.lab.gpus import Gpus, is_gpu, is_switch
from aiprov.lab.machine import run
from aiprov.lab.pci import PciDevice

HOME = "usr/lib/aiprov-lab"
"""Where the programs lie on a host."""
UNIT = "aiprov-lab-gpus.service"
COMMANDS = ("modprobe", "rmmod", "insmod", "lsmod", "dmesg")
_HERE = Path(__file__).parent
_PROGRAMS = ("modules", "boot", "fault")
_LIBRARIES = (
    "simulated_gpus", "nvidia_driver", "nvidia_load", "nvidia_mig", "nvidia_nvlink", "nvidia_table",
    "nvidia_xml",
)  # fmt: skip
_OF_KERNEL = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
"""What a kernel's package lays down beside its modules; without it depmod and lspci complain."""

_PRODUCTS: Mapping[str, tuple[str, int]] = {
    "10de:1db1": ("Tesla V100-SXM2-16GB", 16384),
    "10de:1db5": ("Tesla V100-SXM2-32GB", 32768),
    "10de:1eb8": ("Tesla T4", 15360),
    "10de:20b0": ("NVIDIA A100-SXM4-40GB", 40960),
    "10de:20b2": ("NVIDIA A100-SXM4-80GB", 81920),
    "10de:20b5": ("NVIDIA A100 80GB PCIe", 81920),
    "10de:20b7": ("NVIDIA A30", 24576),
    "10de:26b9": ("NVIDIA L40S", 46068),
    "10de:2330": ("NVIDIA H100 80GB HBM3", 81559),
    "10de:2331": ("NVIDIA H100 PCIe", 81559),
    "10de:2335": ("NVIDIA H200", 143771),
    "10de:233b": ("NVIDIA H200 NVL", 143771),
    "10de:2901": ("NVIDIA B200", 183359),
}
"""What the driver calls a GPU, and the MiB that it reports.

From published nvidia-smi outputs (2026-11-21). Others are called by their name in the catalog,
with all of their memory.
"""


_NVLINK_SPEEDS = {"volta": 25.781, "ampere": 25.0, "hopper": 26.562, "blackwell": 53.125}
"""GB/s of a link in one direction as nvidia-smi tells them (published outputs, 2026-11-21)."""


def lay(tree: Path, has: Gpus, machine: str) -> None:
    """Lay the programs and what the host has into its tree.

    ``machine``: what makes the host itself; UUIDs and serial numbers follow from it.
    """
    home = tree / HOME
    for name in _PROGRAMS:
        # modules.py is imported by the others and called as modprobe.
        target = home / (f"{name}.py" if name == "modules" else f"gpus-{name}")
        shutil.copy(_HERE / f"{name}.py", target)
        target.chmod(0o755)
    for name in _LIBRARIES:
        shutil.copy(_HERE / f"{name}.py", home)
    for name in COMMANDS:
        (tree / "usr/local/sbin" / name).symlink_to(f"/{HOME}/modules.py")
    text = json.dumps(document(has, machine), indent=1, sort_keys=True)
    (home / "gpus.json").write_text(f"{text}\n", encoding="utf-8")
    kernel = tree / "lib/modules" / os.uname().release
    kernel.mkdir(parents=True, exist_ok=True)
    for name in _OF_KERNEL:
        (kernel / name).touch()
    run(["chroot", str(tree), "depmod", kernel.name])
    unit = tree / "etc/systemd/system" / UNIT
    shutil.copy(_HERE / UNIT, unit)
    (unit.parent / "sysinit.target.wants" / UNIT).symlink_to(f"../{UNIT}")


def document(has: Gpus, machine: str) -> dict[str, Any]:
    """``gpus.json``: what the host has, by PCI address, and what is broken about it."""
    loaded = Path("/sys/module")
    return {
        "gpus": {one.address: properties(one, machine) for one in has.devices if is_gpu(one)},
        "switches": [one.address for one in has.devices if is_switch(one)],
        "nouveau": has.nouveau,
        "xids": [[xid.code, xid.gpu] for xid in has.xids],
        # The machine's kernel is the host's too, but for what is simulated.
        "modules": sorted(
            path.name
            for path in (loaded.iterdir() if loaded.is_dir() else ())
            if not path.name.startswith(("nvidia", "nouveau", "nova", "ib_"))
        ),
    }


def properties(device: PciDevice, machine: str) -> dict[str, Any]:
    """What the programs need to know of a GPU. Raises ``CatalogError`` for one that is unknown."""
    row = catalog.gpu(f"{device.vendor:04x}:{device.device:04x}")
    support = drivers.support(row.architecture)
    name, memory = _PRODUCTS.get(row.pci_id, (f"NVIDIA {row.name}", row.memory_gib * 1024))
    limits = performance(row.pci_id)
    joined = limits is not None and row.fabric != "none"
    own = uuid.uuid5(uuid.NAMESPACE_OID, f"{machine}/{device.address}")
    return {
        "pci_id": row.pci_id,
        "name": name,
        "architecture": row.architecture,
        "compute_capability": row.compute_capability,
        "memory_mib": memory,
        "fabric": row.fabric,
        "nvlinks": limits.nvlinks if limits and joined else 0,
        "nvlink_speed": _NVLINK_SPEEDS.get(row.architecture, 25.0),
        "ecc": row.segment == "datacenter",
        "uuid": f"GPU-{own}",
        "serial": str(own.int % 10**13).rjust(13, "1"),
        "vbios": "96.00.A5.00.01",
        "modules": ["open"] if row.grace else support.modules,
        "oldest_branch": support.oldest_branch,
        "newest_branch": support.newest_branch,
        "mig": [
            {
                "name": one.name,
                "profile_id": one.profile_id,
                "slices": one.slices,
                "memory_slices": one.memory_slices,
                "most": one.most,
                "starts": one.starts,
                "video": one.video,
                "ofa": one.ofa,
            }
            for one in catalog.mig_profiles(row.pci_id)
        ],
    }
