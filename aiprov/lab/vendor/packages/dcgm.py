"""DCGM 4, split by CUDA major, and the one package of DCGM 3 that is still there as a trap.

Names: NVIDIA/DCGM README, azhpc-images install_dcgm.sh (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable

from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import STAND_IN, Content, Package

VERSIONS = ("4.4.1", "4.5.0")
OLD = "3.3.9"
_STEM = "datacenter-gpu-manager-4"

_UNIT = parts.unit(
    "NVIDIA DCGM service",
    "Type=notify\nRestart=on-abort\n"
    "ExecStart=/usr/bin/nv-hostengine -n --service-account nvidia-dcgm\n",
    after="network-online.target",
)


def deb_packages() -> list[Package]:
    """All of it for apt."""
    new = [one for version in VERSIONS for one in _packages(version, "{} (= {})", epoch=1)]
    return [*new, _old()]


def rpm_packages() -> list[Package]:
    """All of it for dnf."""
    return [one for version in VERSIONS for one in _packages(version, "{} = {}", epoch=1)]


def _packages(version: str, equal: str, epoch: int) -> Iterable[Package]:
    full = f"{epoch}:{version}-1"
    same = {"version": version, "release": "1", "epoch": epoch, "batch": f"dcgm-{version}"}
    debian = "(" in equal

    def needs(*names: str) -> tuple[str, ...]:
        return tuple(equal.format(name, full) for name in names)

    old = ("datacenter-gpu-manager",) if debian else ("datacenter-gpu-manager < 1:4",)
    yield Package(
        name=f"{_STEM}-core",
        summary="DCGM: dcgmi, the host engine and its service",
        depends=("python3",),
        conflicts=old,
        replaces=old,
        files={
            "/usr/bin/dcgmi": parts.program("dcgmi.py", version),
            "/usr/bin/nv-hostengine": parts.program("daemon.py", version),
            "/usr/lib/systemd/system/nvidia-dcgm.service": _UNIT,
        },
        scripts=parts.unit_scripts("nvidia-dcgm.service", enable=False) if debian else {},
        **same,  # type: ignore[arg-type]
    )
    yield _marker(f"{_STEM}-proprietary", needs(f"{_STEM}-core"), same)
    for major in ("12", "13"):
        proprietary = f"{_STEM}-proprietary-cuda{major}"
        yield _marker(proprietary, needs(f"{_STEM}-proprietary"), same)
        core = (f"{_STEM}-core", f"{_STEM}-proprietary", proprietary)
        yield _marker(f"{_STEM}-cuda{major}", needs(*core), same)


def _marker(name: str, depends: tuple[str, ...], same: dict[str, object]) -> Package:
    folder = "/usr/libexec/datacenter-gpu-manager-4/plugins"
    files = {f"{folder}/{name}": Content(text=f"{STAND_IN}\n")}
    return Package(name=name, summary=f"DCGM: {name.removeprefix(_STEM + '-')}", depends=depends,
                   files=files, **same)  # type: ignore[arg-type]  # fmt: skip


def _old() -> Package:
    return Package(
        name="datacenter-gpu-manager",
        version=OLD,
        release="1",
        epoch=1,
        summary="DCGM 3, which knows no driver of today",
        depends=("python3",),
        conflicts=(f"{_STEM}-core",),
        files={
            "/usr/bin/dcgmi": parts.program("dcgmi.py", OLD),
            "/usr/bin/nv-hostengine": parts.program("daemon.py", OLD),
            "/usr/lib/systemd/system/nvidia-dcgm.service": _UNIT,
        },
        scripts=parts.unit_scripts("nvidia-dcgm.service", enable=False),
    )
