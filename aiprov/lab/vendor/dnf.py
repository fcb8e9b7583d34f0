"""dnf's repositories: NVIDIA's for EL 8 to 10, the container toolkit's, and what EL itself has.

EL 8 and 9 choose a branch of the driver by module streams, EL 10 has none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from aiprov.lab.vendor import places, rpm
from aiprov.lab.vendor.package import Package
from aiprov.lab.vendor.packages import cuda, dcgm, driver, driver_rpm, toolkit
from aiprov.lab.vendor.signing import SigningKey

MODULAR = ("8", "9")
MAJORS = (*MODULAR, "10")
BASE = "el-base"
"""Where the stand-ins are of what EL and EPEL have: dkms, a compiler, headers."""
_WHOLE = ("nvidia-driver", "nvidia-driver-cuda", "nvidia-open", "cuda-drivers")
_PROFILES = {"default": _WHOLE, "fm": (*_WHOLE, "nvidia-fabricmanager", "libnvidia-nscq")}
"""What a stream installs by itself; ``fm`` is for hosts with NVSwitches."""


def packages(major: str, broken: tuple[str, ...] = ()) -> list[Package]:
    """All that NVIDIA's CUDA repository holds for EL of this major version."""
    return [*driver_rpm.packages(major, broken), *_same_everywhere()]


def streams(members: Iterable[Package]) -> dict[str, list[Package]]:
    """The module streams of the driver, and the packages of each: open or proprietary modules."""
    modular = [one for one in members if one.source == driver_rpm.MODULE]
    branches = sorted({one.version.partition(".")[0] for one in modular})
    kinds = {"open": driver_rpm.PROPRIETARY, "dkms": driver_rpm.OPEN}
    found = {
        f"{branch}-{kind}": [
            one for one in modular if one.version.startswith(f"{branch}.") and one.name not in other
        ]
        for branch in branches
        for kind, other in kinds.items()
    }
    newest = branches[-1]
    found["open-dkms"] = found[f"{newest}-open"]
    found["latest-dkms"] = found[f"{newest}-dkms"]
    return found


def modules(members: Mapping[str, Iterable[Package]]) -> str:
    """Module metadata, format 2 (fedora-modularity/libmodulemd), of all streams."""
    blocks = []
    for number, (stream, given) in enumerate(members.items()):
        every = list(given)
        names = {one.name for one in every}
        profiles = "".join(
            f"    {profile}:\n      rpms:\n"
            + "".join(f"      - {name}\n" for name in wanted if name in names)
            for profile, wanted in _PROFILES.items()
        )
        blocks.append(
            "---\ndocument: modulemd\nversion: 2\ndata:\n"
            f'  name: nvidia-driver\n  stream: "{stream}"\n  version: 20261121000000\n'
            f"  context: {number:08x}\n  arch: x86_64\n"
            "  summary: Stand-in of aiprov's lab, the NVIDIA driver\n"
            "  description: Stand-in of aiprov's lab.\n  license:\n    module: [Apache-2.0]\n"
            f"  profiles:\n{profiles}"
            "  artifacts:\n    rpms:\n" + "".join(f'    - "{rpm.nevra(one)}"\n' for one in every)
        )
    blocks.append(
        "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: nvidia-driver\n"
        '  stream: latest-dkms\n  profiles:\n    "latest-dkms": [default]\n'
    )
    return "".join(f"{block.rstrip()}\n...\n" for block in blocks)


def build(folder: Path, broken: tuple[str, ...], key: SigningKey) -> None:
    """Make all repositories in a folder. Raises ``LabError`` where rpm's tools are missing."""
    rpm.require()
    with TemporaryDirectory(dir=folder) as scratch:
        work = Path(scratch)
        pool = work / "pool"
        rpm.build(_same_everywhere(), work / "all", pool)
        for major in MAJORS:
            rpm.build(driver_rpm.packages(major, broken), work / f"el{major}", pool)
        rpm.build(toolkit.rpm_packages(), work / "toolkit", pool)
        rpm.build(_base(), work / "base", pool)
        rpm.sign(sorted(pool.iterdir()), key)
        for major in MAJORS:
            place = folder / places.CUDA / f"rhel{major}" / "x86_64"
            members = packages(major, broken)
            _fill(place, members, pool)
            told = modules(streams(members)) if major in MODULAR else ""
            rpm.index(place, key, told)
        for place, members in (
            (folder / places.TOOLKIT / "rpm" / "x86_64", toolkit.rpm_packages()),
            (folder / BASE / "x86_64", _base()),
        ):
            _fill(place, members, pool)
            rpm.index(place, key)


def _fill(place: Path, members: Iterable[Package], pool: Path) -> None:
    place.mkdir(parents=True)
    for package in members:
        os.link(pool / rpm.filename(package), place / rpm.filename(package))


def _same_everywhere() -> list[Package]:
    """What has no distribution's tag: one file for all major versions."""
    tagless = [one for release in driver.releases() for one in driver_rpm.fabric(release)]
    return [*cuda.rpm_packages(), *dcgm.rpm_packages(), *tagless, driver_rpm.nvlsm()]


def _base() -> list[Package]:
    names = ("dkms", "gcc", "make", "python3", "kernel-headers", "kernel-devel-matched")
    return [
        Package(name=name, version="1.0", release="1", summary=f"EL's {name}, which is empty")
        for name in names
    ]
