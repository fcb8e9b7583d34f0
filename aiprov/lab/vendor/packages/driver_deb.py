"""The driver's packages on Debian and Ubuntu, by the names of NVIDIA's CUDA repository.

Names and what depends on what: the catalog's ``driver_packages.toml``, and installed lists of
595.45.04-1 and 595.58.03-1 on Debian, of 580.95.05-0ubuntu1 and 595.91.07-1ubuntu1 on Ubuntu, whose
pinning package 595-1ubuntu1 brings /etc/apt/preferences.d/nvidia-driver-pin (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import Content, Package
from aiprov.lab.vendor.packages import driver
from aiprov.lab.vendor.packages.driver import Release

Family = Literal["debian", "ubuntu"]

_SOURCE = "nvidia-graphics-drivers"
_BUILD = ("dkms", "gcc", "make")
_UBUNTU_RENAMED = 590


@dataclass(frozen=True, kw_only=True)
class Set:
    """A release as one of the two families names it."""

    family: Family
    release: Release

    @property
    def revision(self) -> str:
        if self.family == "debian":
            return "1"
        return "0ubuntu1" if self.release.branch == "580" else "1ubuntu1"

    def package(self, name: str, summary: str, **more: Any) -> Package:
        """A package of the set; names in ``same`` are depended on at the very same version."""
        same = tuple(f"{one} (= {self.full})" for one in more.pop("same", ()))
        depends = (*same, *more.pop("depends", ()))
        version, release = self.release.version, self.revision
        return Package(
            **{"source": _SOURCE, **more},
            name=name,
            version=version,
            release=release,
            summary=summary,
            depends=depends,
        )

    @property
    def full(self) -> str:
        return f"{self.release.version}-{self.revision}"

    def library(self, name: str, kind: str, same: Iterable[str] = ()) -> Package:
        """A package with the libraries of a kind."""
        sonames, version = driver.LIBRARIES[kind], self.release.version
        return self.package(
            name,
            f"NVIDIA driver library {' '.join(sonames)}",
            same=same,
            files=parts.libraries(parts.DEB_LIBRARIES, sonames, version),
            links=parts.library_links(parts.DEB_LIBRARIES, sonames, version),
            scripts=_LDCONFIG,
        )


_LDCONFIG = {"postinst": "ldconfig", "postrm": "ldconfig"}


def packages(family: Family, broken: tuple[str, ...] = ()) -> list[Package]:
    """All packages of all releases, the pinning packages first."""
    every = driver.releases(broken)
    found = _pinning(family, every)
    for release in every:
        wanted = Set(family=family, release=release)
        found += _debian(wanted) if family == "debian" else _ubuntu(wanted)
        found += _unsuffixed(wanted)
    return found


def _pinning(family: Family, every: Sequence[Release]) -> list[Package]:
    """Packages that pin a branch, or one version: only one of them can be installed."""
    revision = "1" if family == "debian" else "1ubuntu1"
    branches = dict.fromkeys(release.branch for release in every if not release.broken)
    wanted = [*branches, *(release.version for release in every)]
    return [
        Package(
            name=f"nvidia-driver-pinning-{name}",
            version=name,
            release=revision,
            source="nvidia-driver-pinning",
            summary=f"pins the NVIDIA driver to {name}",
            provides=("nvidia-driver-pinning",),
            conflicts=("nvidia-driver-pinning",),
            replaces=("nvidia-driver-pinning",),
            files={"/etc/apt/preferences.d/nvidia-driver-pin": Content(text=pin(name))},
        )
        for name in wanted
    ]


def pin(name: str) -> str:
    """apt preferences for a branch (``580``) or a version: what matches comes before the newest."""
    version = f"{name}-*" if "." in name else f"{name}.*"
    return (
        "Package: src:nvidia-graphics-drivers:any src:nvidia-fabricmanager:any "
        "src:cuda-drivers:any src:libnvidia-nscq:any src:libnvsdm:any src:nvidia-imex:any\n"
        f"Pin: version {version}\nPin-Priority: 1000\n"
    )


def dkms_scripts(name: str, version: str) -> dict[str, str]:
    """What Debian's helper for dkms writes: build at installation, take away before removal.

    As with the vendor's package, a build that fails fails the installation.
    """
    return {
        "postinst": 'if [ "$1" = configure ]; then\n'
        f'/usr/lib/dkms/common.postinst {name} {version} /usr/share/{name} "" "$2"\nfi',
        "prerm": 'case "$1" in remove | upgrade | deconfigure)\n'
        f'if [ -n "$(dkms status -m {name} -v {version})" ]; then\n'
        f"dkms remove -m {name} -v {version} --all\nfi ;;\nesac",
    }


def _dkms(wanted: Set, name: str, flavour: str, same: Iterable[str], **more: Any) -> Package:
    version = wanted.release.version
    return wanted.package(
        name,
        f"NVIDIA kernel modules, {flavour}, built by DKMS",
        same=same,
        depends=_BUILD,
        files=driver.module_source(wanted.release, flavour),
        scripts=dkms_scripts("nvidia", version),
        **more,
    )


def _debian(wanted: Set) -> list[Package]:
    version = wanted.release.version
    support = ("nvidia-kernel-support", "firmware-nvidia-gsp")
    kinds: Mapping[str, str] = {
        "libnvidia-ml1": "ml",
        "libnvidia-ptxjitcompiler1": "ptx",
        "libnvidia-nvvm4": "nvvm",
        "libnvidia-cfg1": "cfg",
        "libnvidia-encode1": "encode",
        "libnvcuvid1": "decode",
        "libglx-nvidia0": "gl",
    }
    compute = (
        *("nvidia-kernel-support", "libcuda1", "libcudadebugger1", "libnvidia-cfg1"),
        *("libnvidia-encode1", "libnvidia-ml1", "nvidia-opencl-icd", "nvidia-persistenced"),
        *("nvidia-modprobe", "nvidia-smi"),
    )
    return [
        *(wanted.library(name, kind) for name, kind in kinds.items()),
        wanted.library("libcuda1", "cuda", ("libnvidia-ptxjitcompiler1", "libnvidia-nvvm4")),
        wanted.library("libcudadebugger1", "debugger", ("libcuda1",)),
        wanted.library("nvidia-opencl-icd", "opencl", ("libnvidia-nvvm4",)),
        wanted.package("firmware-nvidia-gsp", "GSP firmware", files=driver.firmware(version)),
        wanted.package(
            "nvidia-kernel-support",
            "what NVIDIA's kernel modules need besides",
            files=driver.blacklist("/usr/lib/modprobe.d"),
        ),
        _dkms(wanted, "nvidia-kernel-open-dkms", "open", support,
              conflicts=("nvidia-kernel-dkms", "nvidia-open-kernel-dkms")),
        _dkms(wanted, "nvidia-kernel-dkms", "proprietary", support,
              conflicts=("nvidia-kernel-open-dkms", "nvidia-open-kernel-dkms")),
        wanted.package(
            "nvidia-smi",
            "NVIDIA System Management Interface",
            same=("libnvidia-ml1",),
            depends=("python3",),
            files={"/usr/bin/nvidia-smi": driver.nvidia_smi(version)},
        ),
        wanted.package("nvidia-driver-cuda", "NVIDIA driver, compute only", same=compute),
        wanted.package("nvidia-driver-libs", "NVIDIA driver, for displays",
                       same=("libglx-nvidia0",)),
        wanted.package("nvidia-driver", "NVIDIA driver, all of it",
                       same=("nvidia-driver-libs", "nvidia-driver-cuda", "libnvcuvid1")),
        *_metas(wanted, "nvidia-kernel-open-dkms", "nvidia-kernel-dkms"),
    ]  # fmt: skip


def _metas(
    wanted: Set, open_: str, proprietary: str, whole: str = "nvidia-driver"
) -> list[Package]:
    """The packages that drag all in: traps for those who want to choose."""
    branch = wanted.release.branch
    found = [
        wanted.package("nvidia-open", "NVIDIA driver with open kernel modules",
                       same=(whole, open_)),
        wanted.package("cuda-drivers", "NVIDIA driver with proprietary kernel modules",
                       same=(whole, proprietary), source="cuda-drivers"),
    ]  # fmt: skip
    if branch == "580":
        found += [
            wanted.package(f"nvidia-open-{branch}", "the same of one branch", same=(whole, open_)),
            wanted.package(f"cuda-drivers-{branch}", "the same of one branch",
                           same=(whole, proprietary), source="cuda-drivers"),
        ]  # fmt: skip
    return found


def _ubuntu(wanted: Set) -> list[Package]:
    """Ubuntu's names: with the branch in them up to 580."""
    release = wanted.release
    old = int(release.branch) < _UBUNTU_RENAMED
    tag = f"-{release.branch}" if old else ""
    version = release.version
    compute = ("ml", "cuda", "ptx", "nvvm", "debugger", "opencl")
    names = [soname for kind in compute for soname in driver.LIBRARIES[kind]]
    support = (f"nvidia-kernel-common{tag}", f"nvidia-firmware{tag}")

    def rivals(stem: str, flavour: str = "") -> dict[str, tuple[str, ...]]:
        """One branch of these is installed at a time."""
        one = f"{stem}{flavour}"
        virtual = () if not old else (one,)
        other = (one,) if old else (f"{stem}-580{flavour}",)
        return {"provides": virtual, "conflicts": other, "replaces": other}

    found = [
        wanted.package(
            f"libnvidia-compute{tag}",
            "NVIDIA driver libraries for computing",
            files=parts.libraries(parts.DEB_LIBRARIES, names, version),
            links=parts.library_links(parts.DEB_LIBRARIES, names, version),
            scripts=_LDCONFIG,
            **rivals("libnvidia-compute"),
        ),
        wanted.package(f"nvidia-firmware{tag}", "GSP firmware", files=driver.firmware(version),
                       **rivals("nvidia-firmware")),
        wanted.package(f"nvidia-kernel-common{tag}", "what the modules need besides",
                       files=driver.blacklist("/usr/lib/modprobe.d"),
                       **rivals("nvidia-kernel-common")),
        wanted.package(
            f"nvidia-utils{tag}",
            "NVIDIA System Management Interface",
            same=(f"libnvidia-compute{tag}",),
            depends=("python3",),
            files={"/usr/bin/nvidia-smi": driver.nvidia_smi(version)},
            **rivals("nvidia-utils"),
        ),
    ]  # fmt: skip
    whole = (f"libnvidia-compute{tag}", f"nvidia-utils{tag}", *support, "nvidia-persistenced")
    for flavour, kind in (("-open", "open"), ("", "proprietary")):
        other = "" if flavour else "-open"
        clash = rivals("nvidia-dkms", flavour)
        clash["conflicts"] = (*clash["conflicts"], f"nvidia-dkms{tag}{other}")
        found.append(_dkms(wanted, f"nvidia-dkms{tag}{flavour}", kind, support, **clash))
        found.append(
            wanted.package(f"nvidia-driver{tag}{flavour}", f"NVIDIA driver, {kind} modules",
                           same=(*whole, f"nvidia-dkms{tag}{flavour}"),
                           **rivals("nvidia-driver", flavour))
        )  # fmt: skip
    driver_names = (f"nvidia-dkms{tag}-open", f"nvidia-dkms{tag}")
    return [*found, *_metas(wanted, *driver_names, whole=f"libnvidia-compute{tag}")]


def _unsuffixed(wanted: Set) -> list[Package]:
    """What has the same name in both families and in all branches."""
    version = wanted.release.version
    fabric = {
        "/usr/bin/nv-fabricmanager": parts.program("daemon.py", version),
        "/usr/share/nvidia/nvswitch/fabricmanager.cfg": Content(text=driver.FABRIC_CONFIG),
        "/usr/lib/systemd/system/nvidia-fabricmanager.service": driver.FABRIC_UNIT,
    }
    return [
        wanted.package(
            "nvidia-modprobe",
            "loads NVIDIA's kernel modules and makes device nodes",
            depends=("python3",),
            files={"/usr/bin/nvidia-modprobe": parts.program("nvidia_modprobe.py", version)},
        ),
        wanted.package(
            "nvidia-persistenced",
            "keeps the driver's state while nobody uses the GPUs",
            depends=("python3",),
            files={
                "/usr/bin/nvidia-persistenced": parts.program("daemon.py", version),
                "/usr/lib/systemd/system/nvidia-persistenced.service": driver.PERSISTENCED_UNIT,
            },
            scripts=parts.unit_scripts("nvidia-persistenced.service", enable=True),
        ),
        wanted.package("nvidia-fabricmanager", "NVSwitch fabric manager", depends=("python3",),
                       source="nvidia-fabricmanager", files=fabric,
                       scripts=parts.unit_scripts("nvidia-fabricmanager.service", enable=False)),
        wanted.package(
            "nvidia-imex",
            "memory shared between hosts over NVLink",
            source="nvidia-imex",
            depends=("python3",),
            files={
                "/usr/bin/nvidia-imex": parts.program("daemon.py", version),
                "/etc/nvidia-imex/config.cfg": Content(text="IMEX_NODE_CONFIG_FILE=\n"),
                "/usr/lib/systemd/system/nvidia-imex.service": driver.IMEX_UNIT,
            },
            scripts=parts.unit_scripts("nvidia-imex.service", enable=False),
        ),
        _switch_library(wanted, "libnvidia-nscq", "nscq"),
        _switch_library(wanted, "libnvsdm", "sdm"),
    ]  # fmt: skip


def _switch_library(wanted: Set, name: str, kind: str) -> Package:
    sonames, version = driver.LIBRARIES[kind], wanted.release.version
    return wanted.package(
        name,
        f"queries NVSwitches ({' '.join(sonames)})",
        source=name,
        files=parts.libraries(parts.DEB_LIBRARIES, sonames, version),
        links=parts.library_links(parts.DEB_LIBRARIES, sonames, version),
        scripts=_LDCONFIG,
    )
