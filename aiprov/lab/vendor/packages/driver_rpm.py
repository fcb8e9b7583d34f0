"""The driver's packages on the RHEL family, by the names of NVIDIA's CUDA repository.

Names: the catalog's ``driver_packages.toml``; NVIDIA Driver Installation Guide, Version locking
(epoch 3, 2026-11-21). There is no host of the RHEL family in the lab, so these have no scripts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import Content, Package
from aiprov.lab.vendor.packages import driver, rdma
from aiprov.lab.vendor.packages.driver import Release

MODULE = "nvidia-driver"
"""What the packages have in ``source`` that belong to the module's streams."""
OPEN = ("kmod-nvidia-open-dkms", "nvidia-open")
PROPRIETARY = ("kmod-nvidia-latest-dkms", "cuda-drivers")
_EPOCH = 3


@dataclass(frozen=True, kw_only=True)
class Set:
    """A release for one major version of EL."""

    release: Release
    major: str

    def package(self, name: str, summary: str, **more: Any) -> Package:
        """A package of the set; names in ``same`` are required at the very same version."""
        same = tuple(f"{one} = {self.full}" for one in more.pop("same", ()))
        return Package(
            name=name,
            version=self.release.version,
            release=f"1.el{self.major}",
            epoch=_EPOCH,
            source=MODULE,
            batch=self.release.version,
            summary=summary,
            depends=(*same, *more.pop("depends", ())),
            **more,
        )

    @property
    def full(self) -> str:
        return f"{_EPOCH}:{self.release.version}-1.el{self.major}"


def packages(major: str, broken: tuple[str, ...] = ()) -> list[Package]:
    """The driver's packages of all releases for EL of this major version."""
    every = driver.releases(broken)
    return [
        one
        for release in every
        for one in (
            *_compute(Set(release=release, major=major)),
            *_modules(Set(release=release, major=major)),
        )
    ]


def _libraries(wanted: Set, *kinds: str) -> dict[str, Any]:
    names = [soname for kind in kinds for soname in driver.LIBRARIES[kind]]
    version = wanted.release.version
    return {
        "files": parts.libraries(parts.RPM_LIBRARIES, names, version),
        "links": parts.library_links(parts.RPM_LIBRARIES, names, version),
    }


def _compute(wanted: Set) -> list[Package]:
    version = wanted.release.version
    smi = {"/usr/bin/nvidia-smi": driver.nvidia_smi(version)}
    return [
        wanted.package("libnvidia-ml", "NVML", **_libraries(wanted, "ml")),
        wanted.package("libnvidia-cfg", "configuration library", **_libraries(wanted, "cfg")),
        wanted.package("nvidia-driver-cuda-libs", "libraries for computing",
                       same=("libnvidia-ml",),
                       **_libraries(wanted, "cuda", "ptx", "nvvm", "debugger", "opencl")),
        wanted.package("nvidia-driver-cuda", "NVIDIA driver, compute only",
                       same=("nvidia-driver-cuda-libs", "nvidia-kmod-common",
                             "nvidia-persistenced"),
                       depends=("python3",), files=smi),
        wanted.package("nvidia-driver-libs", "libraries for displays",
                       **_libraries(wanted, "gl")),
        wanted.package("nvidia-driver", "NVIDIA driver for displays",
                       same=("nvidia-driver-libs", "nvidia-kmod-common", "libnvidia-cfg")),
        wanted.package("nvidia-modprobe", "loads the kernel modules", depends=("python3",),
                       files={"/usr/bin/nvidia-modprobe":
                              parts.program("nvidia_modprobe.py", version)}),
        wanted.package(
            "nvidia-persistenced",
            "keeps the driver's state while nobody uses the GPUs",
            depends=("python3",),
            files={
                "/usr/bin/nvidia-persistenced": parts.program("daemon.py", version),
                "/usr/lib/systemd/system/nvidia-persistenced.service": driver.PERSISTENCED_UNIT,
            },
        ),
    ]  # fmt: skip


def _modules(wanted: Set) -> list[Package]:
    """The kernel modules of both kinds, and the packages that drag all in."""
    version = wanted.release.version
    common = {**driver.firmware(version), **driver.blacklist("/usr/lib/modprobe.d")}
    found = [
        wanted.package("nvidia-kmod-common", "what the modules need besides",
                       same=("nvidia-kmod",), files=common),
    ]  # fmt: skip
    kinds = ((OPEN, PROPRIETARY, "open"), (PROPRIETARY, OPEN, "proprietary"))
    for (module, meta), (other, _), flavour in kinds:
        # Both kinds bring the same source folder, so each is made by itself.
        own = wanted.package(
            module,
            f"kernel modules, {flavour}, built by DKMS",
            same=("nvidia-kmod-common",),
            depends=("dkms", "gcc", "make"),
            provides=(f"nvidia-kmod = {wanted.full}",),
            conflicts=(other,),
            files=driver.module_source(wanted.release, flavour),
        )
        found.append(_alone(own, flavour))
        found.append(
            wanted.package(meta, f"all of the driver, {flavour} modules",
                           same=(module, "nvidia-driver", "nvidia-driver-cuda"))
        )  # fmt: skip
    return found


def _alone(package: Package, flavour: str) -> Package:
    return replace(package, batch=f"{package.batch}-{flavour}")


def fabric(release: Release) -> list[Package]:
    """What drives NVSwitches, without a distribution's tag."""
    version = release.version
    same: dict[str, Any] = {
        "version": version,
        "release": "1",
        "source": MODULE,
        "batch": f"fabric-{version}",
    }
    wanted = Set(release=release, major="")
    return [
        Package(
            name="nvidia-fabricmanager",
            summary="NVSwitch fabric manager",
            provides=(f"nvidia-fabric-manager = {version}-1",),
            replaces=("nvidia-fabric-manager < 580",),
            depends=("python3",),
            files={
                "/usr/bin/nv-fabricmanager": parts.program("daemon.py", version),
                "/usr/share/nvidia/nvswitch/fabricmanager.cfg": Content(text=driver.FABRIC_CONFIG),
                "/usr/lib/systemd/system/nvidia-fabricmanager.service": driver.FABRIC_UNIT,
            },
            **same,
        ),
        Package(name="libnvidia-nscq", summary="queries NVSwitches",
                **_libraries(wanted, "nscq"), **same),
        Package(name="libnvsdm", summary="queries NVSwitches", **_libraries(wanted, "sdm"),
                **same),
        Package(
            name="nvidia-imex",
            summary="memory shared between hosts over NVLink",
            depends=("python3",),
            files={
                "/usr/bin/nvidia-imex": parts.program("daemon.py", version),
                "/etc/nvidia-imex/config.cfg": Content(text="IMEX_NODE_CONFIG_FILE=\n"),
                "/usr/lib/systemd/system/nvidia-imex.service": driver.IMEX_UNIT,
            },
            **same,
        ),
    ]  # fmt: skip


def nvlsm() -> Package:
    """NVLink's subnet manager."""
    return Package(
        name="nvlsm",
        version=rdma.NVLSM,
        release="1",
        summary="NVLink's subnet manager",
        depends=("python3",),
        files={
            "/opt/nvidia/nvlsm/sbin/nvlsm": parts.program("daemon.py", rdma.NVLSM),
            "/usr/lib/systemd/system/nvlsm.service": driver.NVLSM_UNIT,
        },
    )
