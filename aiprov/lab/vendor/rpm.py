"""RPM packages, made by rpmbuild: one run for a batch of packages, and one for all signatures."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from aiprov.errors import LabError
from aiprov.lab.machine import run
from aiprov.lab.vendor.package import Package
from aiprov.lab.vendor.signing import SigningKey

TOOLS = {"rpmbuild": "rpm", "rpmsign": "rpm", "createrepo_c": "createrepo-c"}
"""The Debian packages that dnf's repositories are made with."""
_MACROS = {
    "debug_package": "%{nil}",
    "__os_install_post": "%{nil}",
    "_build_id_links": "none",
    "_binary_payload": "w1.gzdio",
    "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    "use_source_date_epoch_as_buildtime": "1",
}


def require() -> None:
    """Raise ``LabError`` where this machine cannot make rpms."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(
            f"stand-in dnf repositories need packages that are not installed: {' '.join(missing)}",
            hint=f"apt-get install {' '.join(missing)}",
        )


def build(packages: Iterable[Package], work: Path, folder: Path) -> None:
    """Make the packages' rpms in a folder. ``work`` is for what is needed meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    by_batch = sorted(packages, key=attrgetter("batch"))
    for batch, members in groupby(by_batch, key=attrgetter("batch")):
        _build(batch, list(members), work, folder)


def sign(paths: Sequence[Path], key: SigningKey) -> None:
    """Sign rpms with the key."""
    macros = {
        "__gpg": str(shutil.which("gpg")),
        "_gpg_name": key.fingerprint,
        "_gpg_path": str(key.home),
    }
    told = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    run(["rpmsign", *told, "--addsign", *map(str, paths)])


def index(folder: Path, key: SigningKey, modules: str = "") -> None:
    """Make a folder a signed repository, with dnf modules where there are some."""
    run(["createrepo_c", "--quiet", "--simple-md-filenames", "--no-database", str(folder)])
    data = folder / "repodata"
    if modules:
        listing = folder / "modules.yaml"
        listing.write_text(modules, encoding="utf-8")
        run(["modifyrepo_c", "--mdtype=modules", str(listing), str(data)])
        listing.unlink()
    key.detach(data / "repomd.xml", data / "repomd.xml.asc")
    (data / "repomd.xml.key").write_text(key.armoured, encoding="ascii")


def filename(package: Package) -> str:
    """What the package's file is called."""
    return f"{package.name}-{package.version}-{package.release}.x86_64.rpm"


def nevra(package: Package) -> str:
    """The package as module metadata name it; they always say the epoch."""
    return f"{package.name}-{package.epoch}:{package.version}-{package.release}.x86_64"


def spec(packages: Iterable[Package], tree: Path) -> str:
    """A spec file of which all packages come; their files lie in ``tree`` already."""
    head = (
        "Name: aiprov-lab-stand-ins\nVersion: 1\nRelease: 1\nSummary: Stand-ins of aiprov's lab\n"
        "License: Apache-2.0\nAutoReqProv: no\n\n%description\nStand-ins of aiprov's lab.\n\n"
        f"%install\ncp -a {tree}/. %{{buildroot}}/\n\n"
    )
    return head + "\n".join(_section(package) for package in packages)


def _section(package: Package) -> str:
    relations = {
        "Requires": package.depends,
        "Provides": package.provides,
        "Conflicts": package.conflicts,
        "Obsoletes": package.replaces,
    }
    lines = [
        f"%package -n {package.name}",
        f"Epoch: {package.epoch}",
        f"Version: {package.version}",
        f"Release: {package.release}",
        f"Summary: {package.description}",
        "AutoReqProv: no",
        *(f"{name}: {value}" for name, values in relations.items() for value in values),
        f"%description -n {package.name}",
        package.readme,
        f"%files -n {package.name}",
        *(
            f"%config(noreplace) {path}" if path.startswith("/etc/") else path
            for path in sorted((*package.all_files, *package.links))
        ),
    ]
    return "\n".join(lines) + "\n"


def _build(batch: str, packages: Sequence[Package], work: Path, folder: Path) -> None:
    tree = work / batch / "tree"
    for package in packages:
        for path, content in package.all_files.items():
            place = tree / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.data)
            place.chmod(content.mode)
        for path, target in package.links.items():
            place = tree / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
    text = work / batch / "all.spec"
    text.write_text(spec(packages, tree), encoding="utf-8")
    macros = {**_MACROS, "_topdir": str(work / batch), "_rpmdir": str(folder)}
    told = [word for key, value in macros.items() for word in ("--define", f"{key} {value}")]
    run(["rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--nodeps", *told, str(text)])
