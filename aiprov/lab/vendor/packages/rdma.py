"""GDRCopy, GPUDirect Storage, NVLink's subnet manager, and the DOCA meta package with OFED."""

from __future__ import annotations

from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import Content, Package
from aiprov.lab.vendor.packages.driver import NVLSM_UNIT
from aiprov.lab.vendor.packages.driver_deb import dkms_scripts

GDRCOPY = "2.5.1"
GDS = "1.15.1"
NVIDIA_FS = "2.27.3"
NVLSM = "2025.06.11"
DOCA = "3.2.1"
OFED = "25.10-1.7.1"


def gdrcopy_packages() -> list[Package]:
    """GDRCopy for apt. NVIDIA has no repository of it, so it has one of its own here."""
    names = ("libgdrapi.so.2",)
    return [
        _module("gdrdrv-dkms", "gdrdrv", GDRCOPY, "GDRCopy's kernel module"),
        Package(
            name="libgdrapi",
            version=GDRCOPY,
            release="1",
            summary="GDRCopy's library",
            files=parts.libraries(parts.DEB_LIBRARIES, names, GDRCOPY),
            links=parts.library_links(parts.DEB_LIBRARIES, names, GDRCOPY),
            scripts={"postinst": "ldconfig", "postrm": "ldconfig"},
        ),
        Package(
            name="gdrcopy-tests",
            version=GDRCOPY,
            release="1",
            summary="GDRCopy's sanity check",
            depends=("libgdrapi", "python3"),
            files={"/usr/bin/gdrcopy_sanity": parts.program("gdrcopy_sanity.py", GDRCOPY)},
        ),
        Package(
            name="gdrcopy",
            version=GDRCOPY,
            release="1",
            summary="all of GDRCopy",
            depends=("gdrdrv-dkms", "libgdrapi", "gdrcopy-tests"),
        ),
    ]


def deb_packages() -> list[Package]:
    """What NVIDIA's own repository has, for apt."""
    return [
        _module("nvidia-fs-dkms", "nvidia-fs", NVIDIA_FS, "GPUDirect Storage's kernel module"),
        Package(name="nvidia-fs", version=NVIDIA_FS, release="1", depends=("nvidia-fs-dkms",),
                summary="GPUDirect Storage's kernel module, whichever kind"),
        *(
            Package(name=name, version=GDS, release="1", depends=("nvidia-fs",),
                    summary="GPUDirect Storage")
            for name in ("nvidia-gds", "nvidia-gds-12-9", "nvidia-gds-13-0", "nvidia-gds-13-2")
        ),
        Package(
            name="nvlsm",
            version=NVLSM,
            release="1",
            summary="NVLink's subnet manager",
            depends=("python3",),
            files={
                "/opt/nvidia/nvlsm/sbin/nvlsm": parts.program("daemon.py", NVLSM),
                "/usr/lib/systemd/system/nvlsm.service": NVLSM_UNIT,
            },
            scripts=parts.unit_scripts("nvlsm.service", enable=False),
        ),
    ]  # fmt: skip


def doca_packages() -> list[Package]:
    """NVIDIA's network drivers, as the DOCA repository has them."""
    return [
        Package(
            name="doca-ofed",
            version=DOCA,
            release="1",
            summary="DOCA's OFED profile",
            depends=("mlnx-ofed-kernel-utils",),
        ),
        Package(
            name="mlnx-ofed-kernel-utils",
            version=OFED.partition("-")[0],
            release="OFED.25.10.1.7.1.1",
            summary="tools of the network drivers",
            files={
                "/usr/bin/ofed_info": Content(
                    text="#!/bin/sh\n# Stand-in of aiprov's lab.\n"
                    f'if [ "$1" = -s ]; then echo "OFED-internal-{OFED}:"; exit 0; fi\n'
                    f'echo "OFED-internal-{OFED} (stand-in of aiprov\'s lab)"\n',
                    mode=0o755,
                )
            },
        ),
    ]


def _module(name: str, module: str, version: str, summary: str) -> Package:
    folder = f"/usr/src/{module}-{version}"
    values = {"module": module, "symbol": module.replace("-", "_"), "version": version}
    files = ("dkms.conf", "Makefile", "module.c")
    return Package(
        name=name,
        version=version,
        release="1",
        summary=summary,
        depends=("dkms", "gcc", "make"),
        files={f"{folder}/{one}": parts.source(f"small_module/{one}", **values) for one in files},
        scripts=dkms_scripts(module, version),
    )
