"""NVIDIA's driver as its repository has it: what its packages hold, whatever they are called.

Versions: the branches that the catalog lists as served (580 twice, so that a branch can move within
itself, and 595). Names by OS are in ``driver_deb`` and ``driver_rpm``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiprov.catalog import drivers
from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import STAND_IN, Content

VERSIONS = ("580.95.05", "580.178.04", "595.91.07")
_SIMULATED = Path(__file__).parents[2] / "simulated"
_NEWEST = "99.0"

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "ml": ("libnvidia-ml.so.1",),
    "cuda": ("libcuda.so.1",),
    "ptx": ("libnvidia-ptxjitcompiler.so.1",),
    "nvvm": ("libnvidia-nvvm.so.4",),
    "cfg": ("libnvidia-cfg.so.1",),
    "debugger": ("libcudadebugger.so.1",),
    "opencl": ("libnvidia-opencl.so.1",),
    "encode": ("libnvidia-encode.so.1",),
    "decode": ("libnvcuvid.so.1",),
    "gl": ("libGLX_nvidia.so.0", "libEGL_nvidia.so.0"),
    "nscq": ("libnvidia-nscq.so.2",),
    "sdm": ("libnvsdm.so.1",),
}
"""The driver's libraries by what they are for."""

PERSISTENCED_UNIT = parts.unit(
    "NVIDIA Persistence Daemon",
    "Type=notify\nExecStart=/usr/bin/nvidia-persistenced --verbose\n"
    "RuntimeDirectory=nvidia-persistenced\n",
    after="syslog.target",
)
FABRIC_UNIT = parts.unit(
    "NVIDIA fabric manager service",
    "Type=notify\n"
    "ExecStart=/usr/bin/nv-fabricmanager -c /usr/share/nvidia/nvswitch/fabricmanager.cfg\n"
    "RuntimeDirectory=nvidia-fabricmanager\nRestart=no\n",
    after="network-online.target nvidia-persistenced.service",
)
IMEX_UNIT = parts.unit(
    "NVIDIA IMEX service",
    "Type=notify\nExecStart=/usr/bin/nvidia-imex -c /etc/nvidia-imex/config.cfg\n"
    "RuntimeDirectory=nvidia-imex\n",
    after="network-online.target",
)
NVLSM_UNIT = parts.unit(
    "NVIDIA NVLink Subnet Manager",
    "Type=notify\nExecStart=/opt/nvidia/nvlsm/sbin/nvlsm\n",
    after="network-online.target",
)
FABRIC_CONFIG = (
    "LOG_LEVEL=4\nLOG_FILE_NAME=/var/log/fabricmanager.log\nDAEMONIZE=1\nFABRIC_MODE=0\n"
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version of the driver. ``broken``: its modules build on no kernel at all."""

    version: str
    broken: bool = False

    @property
    def branch(self) -> str:
        return self.version.partition(".")[0]

    @property
    def without_kernel(self) -> tuple[int, int]:
        """The first kernel line on which its modules no longer build, by the catalog.

        What is said of releases within lines does not count: the stand-in builds on the machine's
        own kernel, whatever that is.
        """
        if self.broken:
            return (0, 0)
        own = _numbers(self.version)
        lines = [
            _numbers(first)
            for row in drivers.kernel_limits(self.branch, _NEWEST)
            if row.mended is None or own < _numbers(row.mended)
            if all(first.count(".") == 1 for first in row.kernels)
            for first in row.kernels
        ]
        major, minor = min(lines, default=_numbers(_NEWEST)[:2])
        return (major, minor)


def releases(broken: tuple[str, ...] = ()) -> tuple[Release, ...]:
    """All versions, and those whose modules never build, oldest first."""
    every = [Release(version=version) for version in VERSIONS]
    every += [Release(version=version, broken=True) for version in broken]
    return tuple(sorted(every, key=lambda one: _numbers(one.version)))


def module_source(release: Release, flavour: str) -> dict[str, Content]:
    """The modules' source, as dkms wants it. ``flavour`` is ``open`` or ``proprietary``."""
    major, minor = release.without_kernel
    values = {
        "version": release.version,
        "license": "Dual MIT/GPL" if flavour == "open" else "NVIDIA",
        "major": str(major),
        "minor": str(minor),
    }
    folder = f"/usr/src/nvidia-{release.version}"
    names = ("dkms.conf", "Makefile", "module.c")
    return {f"{folder}/{name}": parts.source(f"module/{name}", **values) for name in names}


def firmware(version: str) -> dict[str, Content]:
    """The GPU System Processor's firmware: files of the right names."""
    names = ("gsp_ga10x.bin", "gsp_tu10x.bin")
    text = f"{STAND_IN}: no firmware, {version}\n"
    return {f"/lib/firmware/nvidia/{version}/{name}": Content(text=text) for name in names}


def nvidia_smi(version: str) -> Content:
    """The nvidia-smi stand-in of the lab's simulated GPU hosts."""
    text = (_SIMULATED / "nvidia_smi.py").read_text(encoding="utf-8")
    return Content(text=text.replace("@VERSION@", version), mode=0o755)


def blacklist(folder: str) -> dict[str, Content]:
    """What keeps nouveau away, as the driver's packages bring it."""
    text = "blacklist nouveau\noptions nouveau modeset=0\n"
    return {f"{folder}/nvidia-blacklists-nouveau.conf": Content(text=text)}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
