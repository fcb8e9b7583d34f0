"""CUDA toolkits, cuDNN and NCCL: folders side by side, and the meta packages that drag a driver in.

Versions: CUDA 12.9.1, 13.0.2 and 13.2.2 release notes, component tables (nvcc 12.9.86, 13.0.88,
13.2.78; read in users' logs, 2026-11-21).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import STAND_IN, Content, Package

TOOLKITS = {
    "12.9": ("12.9.1", "12.9.86"),
    "13.0": ("13.0.2", "13.0.88"),
    "13.2": ("13.2.2", "13.2.78"),
}
"""Toolkits by minor version: the newest update, and its nvcc."""
NCCL = (("2.28.3", "13.0"), ("2.28.9", "12.9"), ("2.28.9", "13.0"))
CUDNN = "9.14.0.64"


@dataclass(frozen=True, kw_only=True)
class Format:
    """What differs between a deb and an rpm. ``libraries`` is where shared libraries are."""

    libraries: str
    equal: str
    develop: str
    scripts: bool


DEB = Format(libraries=parts.DEB_LIBRARIES, equal="{} (= {})", develop="dev", scripts=True)
RPM = Format(libraries=parts.RPM_LIBRARIES, equal="{} = {}", develop="devel", scripts=False)


def deb_packages() -> list[Package]:
    """All of it for apt."""
    return [*_toolkits(DEB), *_metas(), *_libraries(DEB)]


def rpm_packages() -> list[Package]:
    """All of it for dnf."""
    return [*_toolkits(RPM), *_libraries(RPM)]


def _toolkits(form: Format) -> Iterable[Package]:
    for minor in TOOLKITS:
        yield from _toolkit(minor, form)


def _toolkit(minor: str, form: Format) -> Iterable[Package]:
    """A toolkit: what it holds lies in cuda-nvcc and cuda-cudart, as at NVIDIA."""
    version, compiler = TOOLKITS[minor]
    tag, home = minor.replace(".", "-"), f"/usr/local/cuda-{minor}"
    major = minor.partition(".")[0]
    target = f"{home}/targets/x86_64-linux"
    told = json.dumps({"cuda": {"name": "CUDA SDK", "version": version}}, indent=3)
    yield Package(
        name=f"cuda-toolkit-{tag}-config-common",
        version=version,
        summary=f"where CUDA {minor} is, for the alternatives",
        links={f"{home}/lib64": "targets/x86_64-linux/lib"},
        files={f"{home}/version.json": Content(text=f"{told}\n")},
        scripts=_alternatives(minor) if form.scripts else {},
        release="1",
    )
    yield Package(
        name=f"cuda-nvcc-{tag}",
        version=compiler,
        summary=f"compiler of CUDA {minor}",
        depends=("python3", f"cuda-toolkit-{tag}-config-common"),
        files={f"{home}/bin/nvcc": parts.program("nvcc.py", compiler)},
        release="1",
    )
    yield Package(
        name=f"cuda-cudart-{tag}",
        version=compiler,
        summary=f"runtime library of CUDA {minor}",
        depends=(f"cuda-toolkit-{tag}-config-common",),
        files=parts.libraries(f"{target}/lib", (f"libcudart.so.{major}",), compiler),
        links=parts.library_links(f"{target}/lib", (f"libcudart.so.{major}",), compiler),
        release="1",
    )
    yield Package(
        name=f"cuda-toolkit-{tag}",
        version=version,
        summary=f"CUDA {minor}, all of the toolkit and no driver",
        depends=(f"cuda-nvcc-{tag}", f"cuda-cudart-{tag}", f"cuda-toolkit-{tag}-config-common"),
        release="1",
    )


def _alternatives(minor: str) -> dict[str, str]:
    """As at NVIDIA, the newest of them is /usr/local/cuda, until somebody chooses."""
    priority = "".join(f"{int(part):02d}" if part == "12" else part for part in minor.split("."))
    home = f"/usr/local/cuda-{minor}"
    names = {"cuda": "/usr/local/cuda", f"cuda-{minor.partition('.')[0]}": "/usr/local/cuda-"
             + minor.partition(".")[0]}  # fmt: skip
    add = "\n".join(
        f"update-alternatives --install {link} {name} {home} {priority}"
        for name, link in names.items()
    )
    drop = "\n".join(f"update-alternatives --remove {name} {home}" for name in names)
    return {
        "postinst": f'if [ "$1" = configure ]; then\n{add}\nfi',
        "prerm": f'if [ "$1" = remove ] || [ "$1" = deconfigure ]; then\n{drop}\nfi',
    }


def _metas() -> Iterable[Package]:
    """The traps: each of them floats to the newest, ``cuda`` and ``cuda-13-0`` with a driver."""
    newest = max(TOOLKITS, key=lambda minor: tuple(map(int, minor.split("."))))
    yield Package(
        name="cuda-toolkit", version=TOOLKITS[newest][0], release="1",
        summary="the newest CUDA toolkit, whichever that is",
        depends=(f"cuda-toolkit-{newest.replace('.', '-')}",),
    )  # fmt: skip
    for minor, (version, _) in TOOLKITS.items():
        tag = minor.replace(".", "-")
        yield Package(
            name=f"cuda-{tag}", version=version, release="1",
            summary=f"CUDA {minor} with a driver", depends=(f"cuda-toolkit-{tag}", "nvidia-open"),
        )  # fmt: skip
    yield Package(
        name="cuda", version=TOOLKITS[newest][0], release="1",
        summary="the newest CUDA toolkit with the newest driver",
        depends=(f"cuda-{newest.replace('.', '-')}",),
    )  # fmt: skip


def _libraries(form: Format) -> Iterable[Package]:
    """cuDNN by CUDA major, and NCCL in several versions: one of them is installed."""
    for major in ("12", "13"):
        yield from _cudnn(major, form)
    for version, cuda in NCCL:
        release = f"1+cuda{cuda}"
        names = ("libnccl.so.2",)
        runtime = "libnccl2" if form.scripts else "libnccl"
        yield Package(
            name=runtime,
            version=version,
            release=release,
            batch=f"nccl-{version}-{cuda}",
            summary="NCCL runtime",
            files=parts.libraries(form.libraries, names, version),
            links=parts.library_links(form.libraries, names, version),
        )
        yield Package(
            name=f"libnccl-{form.develop}",
            version=version,
            release=release,
            batch=f"nccl-{version}-{cuda}",
            summary="NCCL for developers",
            depends=(form.equal.format(runtime, f"{version}-{release}"),),
            files={"/usr/include/nccl.h": Content(text=f"/* {STAND_IN} */\n")},
        )


def _cudnn(major: str, form: Format) -> Iterable[Package]:
    """The library, its headers, and the package that drags them in."""
    stem, full = "libcudnn9", f"{CUDNN}-1"
    folder = f"/usr/lib/cudnn9-cuda-{major}"
    names = (f"{stem}-cuda-{major}", f"{stem}-headers-cuda-{major}")
    develop = f"{stem}-{form.develop}-cuda-{major}"
    contents: dict[str, dict[str, Content]] = {
        names[0]: parts.libraries(folder, ("libcudnn.so.9",), CUDNN),
        names[1]: {f"{folder}/include/cudnn.h": Content(text=f"/* {STAND_IN} */\n")},
    }
    for name, files in contents.items():
        yield Package(name=name, version=CUDNN, release="1", summary=f"cuDNN 9 for CUDA {major}",
                      files=files)  # fmt: skip
    needs = tuple(form.equal.format(name, full) for name in names)
    yield Package(name=develop, version=CUDNN, release="1", depends=needs,
                  summary=f"cuDNN 9 for CUDA {major}, for developers")  # fmt: skip
    yield Package(name=f"cudnn9-cuda-{major}", version=CUDNN, release="1", depends=(develop,),
                  summary=f"all of cuDNN 9 for CUDA {major}")  # fmt: skip
